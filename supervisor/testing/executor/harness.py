"""What the tiers of ExecutorContract share: what a subclass gives, and what tests are made of."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest
import trio

from supervisor import layout
from supervisor.core.runs.probe import until_ready
from supervisor.interfaces import Capabilities, Executor, Lifetime
from supervisor.model import (
    ContentId,
    Job,
    Mount,
    Plan,
    Purpose,
    Ready,
    Receipt,
    RunId,
    new_run_id,
)
from supervisor.testing.executor.seen import until_running
from supervisor.testing.programs import Program

NewExecutor = Callable[[], Executor]
Alive = Callable[[RunId], Awaitable[int]]

LONG = 600.0  # seconds that no test waits: what returns earlier did not wait for it


def claims(capabilities: Capabilities) -> frozenset[str]:
    """Give what an executor claims, in the words that tests name their needs by."""
    words = {"output": capabilities.output, "usage": capabilities.usage}
    words["files shared with this node"] = capabilities.shared_files
    words["content on a port"] = capabilities.ports
    words["a life beyond the core"] = capabilities.lifetime is not Lifetime.CORE
    limits = {f"the limit {name}" for name in capabilities.limits}
    purposes = {f"the purpose {purpose.value}" for purpose in capabilities.purposes}
    return frozenset({word for word, claimed in words.items() if claimed} | limits | purposes)


class Harness:
    """What a subclass of ExecutorContract gives, and what its tests are made of."""

    scale: float = 1.0
    shell: str = "/bin/sh"
    python: str = "/usr/bin/python3"
    rule: Ready = Ready()
    in_memory: bool = False

    @pytest.fixture
    @abstractmethod
    def new_executor(self) -> Any:
        """Give a callable that makes an executor, as a core that starts does: same backend."""

    @pytest.fixture
    @abstractmethod
    def alive(self) -> Any:
        """Give an async callable: how many processes (or the like) the backend has of a run.

        It asks the backend by other means than the executor. The same for one start and for two of
        the same run; 0 once nothing is left.
        """

    @pytest.fixture
    def data_dir(self) -> str | None:
        """Give the directory that places lie in, as this process sees it; None: it sees none."""
        return None

    def adapt(self, job: Job, program: Program) -> Job:
        """Give the job as this executor needs it."""
        return job

    def job(
        self,
        program: Program,
        *,
        stop_signal: str = "TERM",
        port: int | None = None,
        **fields: Any,
    ) -> Job:
        """Make a job that runs a program."""
        mounts: tuple[Mount, ...] = fields.pop("mounts", ())
        listens = {"SUPERVISOR_LISTEN": layout.LISTEN_AT}
        if port is not None:
            listens = {"SUPERVISOR_PORT": str(port)}
        plan = Plan(
            argv=program.command(shell=self.shell, python=self.python),
            env={"PATH": "/usr/bin:/bin", **listens},
            workdir="/tmp",
            mounts=mounts,
            ready=self.rule,
            stop_signal=stop_signal,
            port=port,
        )
        given = {
            "run": new_run_id(),
            "content": ContentId(1),
            "purpose": Purpose.SERVE,
            "plan": plan,
            **fields,
        }
        return self.adapt(Job(**given), program)

    def unknown(self, executor: Executor) -> Receipt:
        """Make a receipt of something that never was."""
        return Receipt(run=new_run_id(), executor=executor.name)

    def needs(self, executor: Executor, *wanted: str) -> None:
        """Skip the test, by name, where the executor does not claim what it is about."""
        for claim in wanted:
            if claim not in claims(executor.capabilities):
                pytest.skip(f"not claimed: {claim}")

    @asynccontextmanager
    async def life(self, new_executor: NewExecutor) -> AsyncIterator[Executor]:
        """Run an executor, as a core does while it lives; afterwards it is as dead as that core."""
        executor = new_executor()
        with trio.fail_after(10 * self.scale) as limit:
            async with trio.open_nursery() as nursery:
                await nursery.start(_serve, executor)
                limit.deadline = trio.current_time() + 60 * self.scale
                yield executor
                nursery.cancel_scope.cancel()

    @pytest.fixture
    async def executor(self, new_executor: NewExecutor) -> AsyncIterator[Executor]:
        """Give an executor that is served; what it still holds in the end is stopped."""
        async with self.life(new_executor) as executor:
            yield executor
            for receipt in await executor.list():
                await executor.stop(receipt, 0.0)

    async def started(self, executor: Executor, job: Job) -> Receipt:
        """Start a job and wait until its program says `ready`."""
        receipt = await executor.start(job)
        if not executor.capabilities.output:
            await trio.sleep(self.scale)
            return receipt
        seen = b""
        async with aclosing(executor.output(receipt)) as chunks:
            async for chunk in chunks:
                seen += chunk.data
                if b"ready" in seen.splitlines():
                    return receipt
        raise AssertionError(f"it ended before it was ready: {seen!r}")

    async def gone(self, executor: Executor, receipt: Receipt) -> None:
        """Wait until the executor does not list a run any more."""
        with trio.fail_after(20 * self.scale):
            while receipt.run in {held.run for held in await executor.list()}:  # noqa: ASYNC110
                await trio.sleep(0.02 * self.scale)

    async def reach(self, executor: Executor, receipt: Receipt) -> None:
        """Get an answer from programs.SERVES."""
        running = await until_running(executor, receipt)
        assert running.endpoint is not None, "Running names no endpoint"
        with trio.fail_after(20 * self.scale):
            await until_ready(running.endpoint, self.rule, lambda trouble: None, executor.connect)


async def _serve(executor: Executor, *, task_status: trio.TaskStatus[None]) -> None:
    await executor.serve(task_status=task_status)
    raise AssertionError("serve() returned: to a core, the executor is away now")
