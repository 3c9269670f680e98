"""What goes wrong around podman is told in its words, and heals."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from supervisor_podman.command import name
from supervisor_podman.container import RUN, SERVER, SIGNAL, UID
from supervisor_podman.executor import PodmanExecutor
from supervisor_podman.settings import PodmanSettings

from supervisor import (
    Cause,
    Executor,
    Exit,
    Job,
    Limits,
    Pending,
    Plan,
    Purpose,
    Receipt,
    Running,
    SupervisorError,
    new_run_id,
)
from supervisor.testing import serving

Make = Callable[..., PodmanExecutor]


@pytest.fixture
def make(storage: Any, short_path: Path) -> Make:
    """Make an executor, with other settings than those of the storage."""

    def make(**changed: Any) -> PodmanExecutor:
        return PodmanExecutor(
            settings=attrs.evolve(storage.settings, **changed),
            data_dir=f"{short_path}/data",
            directory=f"{short_path}/runs",
            forget_after=0.2,
        )

    return make


@pytest.fixture
async def executor(make: Make) -> AsyncIterator[Executor]:
    with trio.fail_after(60):
        async with serving(make()) as executor:
            yield executor
            for receipt in await executor.list():
                await executor.stop(receipt, 0.0)


def job(**fields: Any) -> Job:
    plan = Plan(argv=("/bin/sleep", "600"), workdir="/tmp")
    given = {"run": new_run_id(), "content": 1, "purpose": Purpose.SERVE, "plan": plan}
    return Job(**{**given, **fields})


async def seen(executor: Executor, receipt: Receipt) -> list[object]:
    """Every observation, to the end."""
    async with aclosing(executor.watch(receipt)) as observations:
        return [news async for news in observations]


async def test_a_container_that_somebody_removes_is_lost(executor: Executor, storage: Any) -> None:
    receipt = await executor.start(job())
    storage.podman("rm", "--force", "--time=0", name(receipt.run))
    ended = (await seen(executor, receipt))[-1]
    assert isinstance(ended, Exit)
    assert ended.cause in (Cause.LOST, Cause.FAILED)  # it was seen to end, or only to be gone
    assert [] == [*await executor.list()]


async def test_a_container_that_somebody_kills_has_failed(executor: Executor, storage: Any) -> None:
    receipt = await executor.start(job())
    storage.podman("kill", name(receipt.run))
    assert Exit(signal=9, cause=Cause.FAILED) == (await seen(executor, receipt))[-1]


async def test_a_container_that_a_core_left_unstarted_is_a_stray_that_can_be_stopped(
    executor: Executor, storage: Any, short_path: Path
) -> None:
    run = new_run_id()
    labels = {RUN: run, UID: "0", SIGNAL: "TERM", SERVER: f"{short_path}/data"}
    options = [f"--label={key}={value}" for key, value in labels.items()]
    storage.podman("create", f"--name={name(run)}", *options, storage.settings.image[0], "/x")
    [receipt] = await executor.list()
    assert run == receipt.run
    async with aclosing(executor.watch(receipt)) as observations:
        assert isinstance(await anext(observations), Pending)
    await executor.stop(receipt, 5.0)
    assert [] == [*await executor.list()]


async def test_an_image_that_is_not_there_is_named_and_nothing_is_left(make: Make) -> None:
    async with serving(make(image=("localhost/nothing",))) as executor:
        wanted = job()
        with pytest.raises(SupervisorError, match="localhost/nothing") as caught:
            await executor.start(wanted)
        assert "start-failed" == caught.value.code
        assert [] == [*await executor.list()]
        findings = await executor.check()
        assert [("podman", True), ("image localhost/nothing", False)] == [
            (finding.name, finding.ok) for finding in findings
        ]


async def test_a_limit_that_is_not_claimed_refuses_the_start(executor: Executor) -> None:
    with pytest.raises(SupervisorError, match="memory_max") as caught:
        await executor.start(job(limits=Limits(memory_max=2**20)))
    assert "limit-unenforceable" == caught.value.code


async def test_without_podman_the_executor_is_away_and_says_what_to_do(short_path: Path) -> None:
    settings = PodmanSettings(image=("x",), command=f"{short_path}/podman")
    executor = PodmanExecutor(
        settings=settings, data_dir=str(short_path), directory=f"{short_path}/runs"
    )
    [finding] = await executor.check()
    assert (False, True) == (finding.ok, finding.fatal)
    assert "cannot be executed" in finding.text
    assert "Install podman" in finding.fix
    with pytest.RaisesGroup(SupervisorError, flatten_subgroups=True):
        async with serving(executor):
            pass


async def test_when_the_events_end_the_executor_is_away_and_comes_back(
    make: Make, storage: Any
) -> None:
    executor = make()
    with pytest.RaisesGroup(
        pytest.RaisesExc(SupervisorError, match="events"), flatten_subgroups=True
    ):
        async with serving(executor):
            receipt = await executor.start(job())
            kill_followers(storage.top)
            await trio.sleep_forever()
    with trio.fail_after(30):
        async with serving(executor):
            async with aclosing(executor.watch(receipt)) as observations:
                assert isinstance(await anext(observations), Running)
            await executor.stop(receipt, 0.0)


def kill_followers(top: str) -> None:
    """Kill what follows this podman's events."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        words = _words(path)
        if words[0] == "podman" and f"--root={top}/root" in words and "events" in words:
            os.kill(int(path.parent.name), signal.SIGKILL)


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").split("\0")
    except OSError:
        return [""]
