"""Interpreters are looked for when somebody wants one, and whoever does waits for them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import trio
import trio.testing

from supervisor.core.makers import Makers
from supervisor.errors import SupervisorError
from supervisor.interfaces import Detected, Installation
from supervisor.log import Log
from supervisor.model import ContentKind, DeploymentId, Purpose, Scaling
from supervisor.plugins import Plugins
from supervisor.testing.executors import ScriptedExecutor
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
        nursery.start_soon(made.look_for_installations, lambda name: {})
        await trio.testing.wait_all_tasks_blocked()
        assert runtime.asked == 0
        with trio.fail_after(10):
            assert await made.installation(APP) == HERE
        assert runtime.asked == 1


async def test_a_host_without_an_interpreter_is_a_clear_error() -> None:
    made = makers(FakeRuntime([]))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(made.look_for_installations, lambda name: {})
        with trio.fail_after(10), pytest.raises(SupervisorError) as caught:
            await made.installation(APP)
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
