"""Flows in a real core, in real time: from a bundle to a visitor, and when the core is killed."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from supervisor.core.runs.guarded import Guarded
from supervisor.interfaces import Executor
from supervisor.model import Cause, Job, Receipt, RunId
from supervisor.plugins.hookspecs import hookimpl
from supervisor.testing import programs
from supervisor.testing.executor.harness import Alive, Harness, NewExecutor
from supervisor.testing.executor.killed import start_in_a_core_that_is_killed
from supervisor.testing.executor.seen import until_exit
from supervisor.testing.programs import Program
from supervisor.testing.server import RunningServer, running_server
from supervisor.testing.tiny import TinyRuntime, tiny_bundle

NAME = "tested"


class CoreFlows(Harness):
    """The executor in a server: deployed, visited, deployed anew, the core killed, removed."""

    @asynccontextmanager
    async def server(
        self, new_executor: NewExecutor, data_dir: str | None
    ) -> AsyncIterator[RunningServer]:
        """Run a server whose only executor for apps is the one under test."""
        looked_at = new_executor()
        self.needs(looked_at, "the purpose serve")
        shows_source = looked_at.capabilities.shared_files and data_dir is not None
        runtime = TinyRuntime(
            shell=self.shell, python=self.python, rule=self.rule, shows_source=shows_source
        )
        with tempfile.TemporaryDirectory(prefix="cs-") as directory:
            async with running_server(
                Path(directory),
                _Plugin(self, new_executor),
                settings=f"[Scheduler]\nInitTimeout = {30 * self.scale:.0f}s\n",
                runtime=runtime,
                data_dir=Path(data_dir) if shows_source and data_dir else None,
            ) as server:
                yield server

    async def test_a_bundle_is_deployed_reached_by_visitors_and_deployed_anew(
        self, new_executor: NewExecutor, alive: Alive, data_dir: str | None
    ) -> None:
        """A visitor reaches what was deployed, then what was deployed anew; nothing is left."""
        async with self.server(new_executor, data_dir) as server:
            path = await server.deploy(NAME, tiny_bundle("first"))
            await server.visit(path, "first ", seconds=40 * self.scale)
            [before] = await server.runs(NAME)
            assert await alive(before.run.id) > 0
            await server.deploy(NAME, tiny_bundle("second"))
            await server.visit(path, "second ", seconds=40 * self.scale)
            with trio.fail_after(30 * self.scale):
                while before.run.id in (held := await self.held(server)):  # noqa: ASYNC110
                    await trio.sleep(0.05 * self.scale)
            assert 1 == len(held)
            await server.service.remove(NAME)
            await self.none_left(alive, before.run.id, *held)

    async def test_visitors_keep_their_process_when_the_core_is_killed(
        self, new_executor: NewExecutor, alive: Alive, data_dir: str | None
    ) -> None:
        """Without a core the process answers its visitors; the next core adopts it, and ends it."""
        async with self.server(new_executor, data_dir) as server:
            self.needs(new_executor(), "a life beyond the core")
            path = await server.deploy(NAME, tiny_bundle("same"))
            first = await server.visit(path, "same ", seconds=40 * self.scale)
            [before] = await server.runs(NAME)
            there = await alive(before.run.id)
            await server.kill_core()
            with trio.fail_after(20 * self.scale):
                assert first.body == (await server.get(path, cookie=first.cookie)).body
            assert there == await alive(before.run.id)
            await server.start_core()
            assert first.body == (await server.visit(path, "same ")).body
            assert [before.run.id] == await self.held(server)
            assert there == await alive(before.run.id)
            await server.service.remove(NAME)
            await self.none_left(alive, before.run.id)

    async def test_a_run_outlives_a_core_that_is_killed(
        self, new_executor: NewExecutor, alive: Alive
    ) -> None:
        """A core in a process of its own starts a run and gets SIGKILL; the next one adopts it."""
        self.needs(new_executor(), "a life beyond the core")
        if self.in_memory:
            pytest.skip("not claimed: a backend outside of the test's process")
        job = self.job(programs.SERVES)
        receipt = await start_in_a_core_that_is_killed(
            new_executor, job, self.started, seconds=60 * self.scale
        )
        await trio.sleep(0.2 * self.scale)
        there = await alive(job.run)
        assert there > 0
        async with self.life(new_executor) as next_one:
            await self.reach(next_one, receipt)
            assert receipt == await next_one.start(job)
            assert there == await alive(job.run)
            await next_one.stop(receipt, 0.0)
            assert Cause.STOPPED is (await until_exit(next_one, receipt)).cause
        assert 0 == await alive(job.run)

    async def held(self, server: RunningServer) -> list[RunId]:
        """Give the living runs of the content."""
        return [view.run.id for view in await server.runs(NAME)]

    async def none_left(self, alive: Alive, *runs: RunId) -> None:
        """Wait until the backend has nothing of any of these runs."""
        with trio.fail_after(30 * self.scale):
            for run in runs:
                while await alive(run):  # noqa: ASYNC110
                    await trio.sleep(0.05 * self.scale)


class _Plugin:
    """Gives the executor under test to a core, with jobs as it needs them."""

    def __init__(self, harness: Harness, new_executor: NewExecutor) -> None:
        self._harness, self._new_executor = harness, new_executor

    @hookimpl
    def supervisor_executors(self) -> Sequence[Executor]:
        """Give one more instance, as for a core that starts."""
        return [_Adapted(self._new_executor(), self._harness)]


class _Adapted(Guarded):
    """The executor under test; what a core asks it for is adapted as in the other tests."""

    def __init__(self, executor: Executor, harness: Harness) -> None:
        super().__init__(executor, lambda: "")
        self._harness = harness

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self.inner.serve(task_status=task_status)

    async def start(self, job: Job) -> Receipt:
        program = programs.TELLS
        if job.runtime != TinyRuntime.name:
            program = Program(name=job.purpose.value, argv=tuple(job.plan.argv))
        return await super().start(self._harness.adapt(job, program))
