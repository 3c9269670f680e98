"""A house for keepers and workers of tests: a journal and an executor without threads, and makers.

Everything lives in one nursery that a test opens; a mock clock carries it through hours.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from supervisor.core.runs.limiting import Given
from supervisor.core.runs.missing import Missing
from supervisor.core.runs.output import Output
from supervisor.core.runs.tracked import Tracked
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.starts import Starts
from supervisor.core.scheduling.verdict import Answer
from supervisor.interfaces import Executor
from supervisor.log import Log
from supervisor.model import (
    BundleId,
    Content,
    ContentId,
    ContentKind,
    Deployment,
    DeploymentId,
    Guid,
    Job,
    Limits,
    Plan,
    Purpose,
    Ready,
    Run,
    Scaling,
    new_job_key,
    new_run_id,
)
from supervisor.site_mounts import SiteMount
from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.journal import MemoryJournal

CONNECT = Ready(connect_only=True)


def a_content(number: int = 1, **fields: Any) -> Content:
    """Make an app that has deployment 1."""
    given = {
        "id": ContentId(number),
        "guid": Guid(f"guid-{number}"),
        "name": f"app-{number}",
        "kind": ContentKind.APP,
        "active_deployment": DeploymentId(1),
        **fields,
    }
    return Content(**given)


def a_deployment(number: int = 1, content: int = 1) -> Deployment:
    """Make a deployment of a content, from the bundle of the same number."""
    return Deployment(
        id=DeploymentId(number),
        content=ContentId(content),
        bundle=BundleId(number),
        runtime="fake",
        app_mode="fake",
        entrypoint="app",
    )


def a_run(**fields: Any) -> Run:
    """Make a queued run of content 1."""
    given = {
        "id": new_run_id(),
        "key": new_job_key(),
        "content": ContentId(1),
        "deployment": DeploymentId(1),
        "purpose": Purpose.SERVE,
        "executor": "scripted",
        "node": "node",
        **fields,
    }
    return Run(**given)


def a_job(run: Run) -> Job:
    """Make the job of a run."""
    plan = Plan(argv=("/bin/true",), workdir="/", ready=CONNECT)
    return Job(run=run.id, content=run.content, purpose=run.purpose, plan=plan)


def visit(keeper: Keeper) -> Answer:
    """Want a content running as a visitor does; give how it stands."""
    keeper.want()
    return keeper.now()


async def at_once(call: Callable[..., Any], *args: Any) -> Any:
    """Call it here, where a thread would be used."""
    return call(*args)


@attrs.define(eq=False, kw_only=True)
class House:
    """Make workers and keepers. paths: where the logs of runs lie; made: every worker, in order."""

    executor: ScriptedExecutor
    journal: MemoryJournal
    paths: str
    log: Log = attrs.field(factory=lambda: Log("core", level="error"))
    ready: Ready = CONNECT
    made: list[Worker] = attrs.field(factory=list)
    moves: list[tuple[str, str]] = attrs.field(factory=list)
    deserted: list[DeploymentId] = attrs.field(factory=list)
    refuse: Exception | None = None
    site_mounts: Sequence[SiteMount] = ()
    clock: Callable[[], float] = trio.current_time  # of records; Makers takes the wall clock
    making: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    _keepers: list[Keeper] = attrs.field(factory=list)

    def worker(
        self,
        run: Run | None = None,
        *,
        scaling: Scaling | None = None,
        executor: Executor | None = None,
        limits: Limits | None = None,
    ) -> Worker:
        """Make a worker around a run."""
        run = run or a_run()
        assert run.deployment is not None
        executor = executor or self.executor
        output = Output(
            run=run.id,
            path=f"{self.paths}/{run.id}/log",
            clock=trio.current_time,
            in_thread=at_once,
        )
        worker = Worker(
            tracked=Tracked(run=run, journal=self.journal, log=self.log, clock=trio.current_time),
            guid=Guid(f"guid-{run.content}"),
            deployment=run.deployment,
            executor=executor,
            output=output,
            ready_rule=self.ready,
            scaling=scaling or Scaling(),
            grace=5.0,
            changed=self._changed,
            given=Given(limits=limits or Limits()),
            missing=Missing.of(a_content(run.content), executor, output, self.site_mounts),
        )
        self.made.append(worker)
        return worker

    def _changed(self, worker: Worker) -> None:
        move = (worker.id, worker.state.value)
        if self.moves[-1:] != [move]:
            self.moves.append(move)
        for keeper in self._keepers:
            if worker.guid == keeper.content.guid:
                keeper.notice(worker)

    async def make(
        self, content: Content, deployment: Deployment, attempt: int
    ) -> tuple[Worker, Job]:
        """Make a worker as Makers does."""
        await self.making()
        if self.refuse is not None:
            raise self.refuse
        created = max(self.clock(), content.rolled)
        run = a_run(content=content.id, deployment=deployment.id, attempt=attempt, created=created)
        scaling = content.scaling.over(Scaling())
        return self.worker(run, scaling=scaling, limits=content.limits), a_job(run)

    async def _deserted(self, deployment: Deployment) -> None:
        self.deserted.append(deployment.id)

    def keeper(
        self, content: Content | None = None, deployment: Deployment | None = None, **fields: Any
    ) -> Keeper:
        """Make a keeper of a content, by default with deployment 1 active."""
        keeper = Keeper(
            content=content or a_content(),
            deployment=deployment or a_deployment(),
            defaults=Scaling(),
            starts=Starts(most=4),
            make=self.make,
            changed=lambda worker: None,
            deserted=self._deserted,
            log=self.log,
            **fields,
        )
        self._keepers.append(keeper)
        return keeper


@asynccontextmanager
async def keeping(keeper: Keeper) -> AsyncIterator[Keeper]:
    """Run a keeper while the block runs; its processes stay afterwards."""
    async with trio.open_nursery() as nursery:
        await nursery.start(keeper.run)
        yield keeper
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def serving(executor: Executor) -> AsyncIterator[Executor]:
    """Run an executor while the block runs."""
    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, executor)
        yield executor
        nursery.cancel_scope.cancel()


async def _serve(executor: Executor, *, task_status: trio.TaskStatus[None]) -> None:
    await executor.serve(task_status=task_status)
