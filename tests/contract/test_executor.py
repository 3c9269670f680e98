"""The scripted executor of the core's tests keeps the promises of every executor."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import ClassVar

import pytest
import trio

from supervisor.model import Cause, Exit, Job, Ready, RunId
from supervisor.testing import programs
from supervisor.testing.executor import (
    Alive,
    Flows,
    Invariants,
    NewExecutor,
    Scenarios,
    Stopping,
)
from supervisor.testing.executors import Behaviour, ScriptedExecutor
from supervisor.testing.house import serving
from supervisor.testing.programs import Program

READY = (("stdout", b"ready\n"),)
FAILED = Exit(code=127, cause=Cause.FAILED, detail="no such program")


def failed(code: int) -> Behaviour:
    return Behaviour(lives=0.0, end=Exit(code=code, cause=Cause.FAILED))


def killed(signal: int) -> Behaviour:
    return Behaviour(lives=0.0, end=Exit(signal=signal, cause=Cause.FAILED))


def pieces() -> tuple[tuple[str, bytes], ...]:
    """What PRINTS writes, in pieces of 10 kB."""
    return tuple(
        (stream, data[at : at + 10_000])
        for stream, data in programs.printed().items()
        for at in range(0, len(data), 10_000)
    )


SCRIPTS = {
    "sleeps": Behaviour(output=READY),
    "serves": Behaviour(output=READY),
    "missing": Behaviour(lives=0.0, end=FAILED),
    "stubborn": Behaviour(output=READY, obeys=None),
    "leaves-others": failed(3),
    "ends-0": Behaviour(lives=0.0),
    "ends-7": failed(7),
    "killed-by-9": killed(9),
    "killed-by-11": killed(11),
    "tidies-up-TERM-0.3": Behaviour(
        output=READY, obeys=0.3, obeying=Exit(code=7, cause=Cause.STOPPED)
    ),
    "tidies-up-INT-0.0": Behaviour(output=READY, obeying=Exit(code=7, cause=Cause.STOPPED)),
    "prints": Behaviour(lives=0.0, output=pieces()),
    "says-last-words-4": Behaviour(
        lives=0.0,
        output=(("stdout", b"last-words\n"),),
        end=Exit(code=4, cause=Cause.FAILED),
    ),
}


class TestScriptedExecutor(Invariants, Stopping, Scenarios, Flows):
    """All but the flows in a core: nothing answers a visitor."""

    rule = Ready(connect_only=True)
    in_memory = True
    behaviours: ClassVar[dict[RunId, Behaviour]] = {}

    @pytest.fixture
    def directory(self) -> Iterator[Path]:
        path = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
        yield path
        shutil.rmtree(path)

    @pytest.fixture
    async def backend(self, directory: Path) -> AsyncIterator[ScriptedExecutor]:
        backend = ScriptedExecutor(directory, lambda job: self.behaviours[job.run])
        async with serving(backend):
            yield backend

    @pytest.fixture
    def new_executor(self, backend: ScriptedExecutor) -> NewExecutor:
        return lambda: Front(backend)

    @pytest.fixture
    def alive(self, backend: ScriptedExecutor) -> Alive:
        async def alive(run: RunId) -> int:
            return sum(run == living.job.run for living in backend.living)

        return alive

    def adapt(self, job: Job, program: Program) -> Job:
        self.behaviours[job.run] = SCRIPTS[program.name]
        return job


class Front(ScriptedExecutor):
    """Another core's instance: what runs lives in the one that it stands before."""

    def __init__(self, backend: ScriptedExecutor) -> None:
        super().__init__(backend.directory, backend.behaves)
        self.runs = backend.runs
        self._pids = backend._pids
        self._nursery = backend._nursery

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        await trio.sleep_forever()
