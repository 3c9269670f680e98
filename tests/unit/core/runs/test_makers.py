"""Interpreters are looked for when somebody wants one, and whoever does waits for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from supervisor.core.runs.archiving import LOOK_EACH, Spool
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.reach import Reach
from supervisor.core.storage.disk import Disk
from supervisor.errors import SupervisorError
from supervisor.interfaces import Capabilities, Detected, Installation, Lifetime
from supervisor.log import Log
from supervisor.model import (
    ContentKind,
    DeploymentId,
    Limits,
    PlaceKind,
    PlaceRef,
    Purpose,
    Role,
    Scaling,
)
from supervisor.network import Egress
from supervisor.plugins.loading import Plugins
from supervisor.settings.values import Share
from supervisor.testing.executors import WELL, Behaviour, ScriptedExecutor
from supervisor.testing.fakes import MemoryStore
from supervisor.testing.house import a_content
from supervisor.testing.journal import MemoryJournal

HERE = Installation(runtime="fake", version="1", executable="/bin/fake")
APP = Detected(runtime="fake", kind=ContentKind.APP, app_mode="fake", entrypoint="app")


class FakeRuntime:
    name = "fake"

    def __init__(self, found: Sequence[Installation]) -> None:
        self.found = found
        self.asked = 0

    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        self.asked += 1
        return self.found


def makers(runtime: FakeRuntime) -> Makers:
    plugins = Plugins()
    plugins.runtimes["fake"] = runtime  # type: ignore[assignment]
    return Makers(
        journal=MemoryJournal(MemoryStore()),
        plugins=plugins,
        log=Log("test", fd=2),
        node="n",
        data_dir="/nonexistent",
        server="",
        scaling=Scaling(),
    )


async def test_nobody_is_asked_until_somebody_wants_to_know() -> None:
    runtime = FakeRuntime([HERE])
    made = makers(runtime)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.installations.look, lambda name: {})
        await trio.testing.wait_all_tasks_blocked()
        assert runtime.asked == 0
        with trio.fail_after(10):
            assert await made.installations.choose(APP) == HERE
        assert runtime.asked == 1


async def test_a_host_without_an_interpreter_is_a_clear_error() -> None:
    made = makers(FakeRuntime([]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.installations.look, lambda name: {})
        with trio.fail_after(10), pytest.raises(SupervisorError) as caught:
            await made.installations.choose(APP)
        assert caught.value.code == "runtime-missing"


async def test_a_run_is_never_older_than_the_generation_it_belongs_to() -> None:
    runtime = FakeRuntime([HERE])
    made = makers(runtime)
    now = time.time()
    for rolled, expected in ((now + 3600, now + 3600), (now - 3600, now)):
        content = a_content(rolled=rolled)  # the first: the clock was set back since
        executor = ScriptedExecutor(Path("/nonexistent"))
        run = made._run(content, Purpose.SERVE, executor, DeploymentId(1), 1)
        assert run.created == pytest.approx(expected, abs=60)
        assert run.created >= rolled


def executor(name: str, lifetime: Lifetime, *purposes: Purpose, files: bool = True) -> object:
    made = ScriptedExecutor("/nonexistent")
    made.name = name
    made.capabilities = Capabilities(
        lifetime=lifetime, purposes=frozenset(purposes), shared_files=files
    )
    return made


LOCAL = executor("local", Lifetime.NODE, *Purpose)
FAR = executor("far", Lifetime.REMOTE, *Purpose)
NO_FILES = executor("no-files", Lifetime.REMOTE, Purpose.SERVE, Purpose.UNPACK, files=False)


def choosing(*executors: object, default: str | None = None) -> Makers:
    plugins = Plugins()
    for each in executors:
        plugins.executors[each.name] = each  # type: ignore[attr-defined, assignment]
    return Makers(
        journal=MemoryJournal(MemoryStore()),
        plugins=plugins,
        log=Log("test", fd=2),
        node="n",
        data_dir="/nonexistent",
        server="",
        scaling=Scaling(),
        default=default,
    )


@pytest.mark.parametrize(
    ("own", "default", "chosen"),
    [(None, None, "local"), (None, "far", "far"), ("local", "far", "local")],
)
def test_a_content_runs_where_it_says_else_where_the_server_says_else_here(
    own: str | None, default: str | None, chosen: str
) -> None:
    made = choosing(FAR, LOCAL, default=default)
    assert chosen == made.executor(a_content(executor=own)).name


def test_a_content_whose_executor_is_not_installed_is_refused_by_its_name() -> None:
    with pytest.raises(SupervisorError, match="'far' is not installed"):
        choosing(LOCAL).executor(a_content(executor="far"))


def test_files_are_kept_by_an_executor_of_this_node_whoever_serves() -> None:
    assert "local" == choosing(NO_FILES, FAR, LOCAL, default="far").keeper_of_files().name
    assert "far" == choosing(NO_FILES, FAR).keeper_of_files().name
    with pytest.raises(SupervisorError, match="no installed executor can unpack"):
        choosing(NO_FILES).keeper_of_files()


async def test_contents_are_given_only_to_an_executor_that_serves() -> None:
    made = choosing(executor("unpacker", Lifetime.NODE, Purpose.UNPACK))
    with pytest.raises(SupervisorError, match="cannot run applications"):
        await made.check_assigned(a_content(executor="unpacker"), a_content())


async def test_a_content_with_limits_is_not_given_to_an_executor_that_cannot_hold_them() -> None:
    limited = a_content(limits=Limits(cpu=0.5))
    with pytest.raises(SupervisorError, match="'local' cannot enforce cpu_limit"):
        await choosing(LOCAL).check_assigned(attrs.evolve(limited, executor="local"), limited)


async def test_what_the_content_had_before_is_not_held_against_another_change() -> None:
    made = choosing(LOCAL)
    made.reach = Reach(most=Egress.USER)
    before = a_content(egress=Egress.HOST)  # set before MostEgress was
    await made.check_assigned(attrs.evolve(before, limits=Limits(run_time=5.0)), before)
    with pytest.raises(SupervisorError, match="more than the user"):
        await made.check_assigned(before, a_content())


async def test_a_run_whose_archive_has_no_room_is_ended(
    tmp_path: Path, short: Path, autojump_clock: trio.testing.MockClock
) -> None:
    output = (("stdout", bytes(LOOK_EACH + 1)), ("stdout", b"more"))
    executor = ScriptedExecutor(short, Behaviour(output=output))  # it never ends by itself
    made = choosing(executor)
    made.data_dir = str(tmp_path)
    place = PlaceRef(kind=PlaceKind.STATE, ids=(1,))
    async with trio.open_nursery() as nursery:
        await nursery.start(executor.serve)
        with (tmp_path / "spool").open("w+b") as file, trio.fail_after(60):
            spool = Spool(file, Disk(str(tmp_path), kept=[Share(bytes=2**60)]))
            await made.archive(a_content(), Role.STATE, place, spool)
            with pytest.raises(SupervisorError, match="no room"):
                spool.check()
        assert ([], 1) == (executor.living, executor.count("stop"))
        nursery.cancel_scope.cancel()


async def test_an_archive_that_takes_hours_is_waited_for(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    executor = ScriptedExecutor(tmp_path)
    made = choosing(executor)
    made.data_dir = str(tmp_path)
    place = PlaceRef(kind=PlaceKind.STATE, ids=(1,))

    async def write() -> None:
        for _ in range(30):
            await trio.sleep(600)
            executor.living[0].writes("stdout", b"more")
        executor.living[0].dies(WELL)

    async with trio.open_nursery() as nursery:
        await nursery.start(executor.serve)
        with (tmp_path / "spool").open("w+b") as file:
            spool = Spool(file, Disk(str(tmp_path)))
            nursery.start_soon(write)
            await made.archive(a_content(), Role.STATE, place, spool)
            spool.check()
        assert 30 * len(b"more") == spool.size
        nursery.cancel_scope.cancel()
