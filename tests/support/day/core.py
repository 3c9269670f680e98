"""The core of a simulated day: the real contents, keepers, admission, routes and adoption."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from supervisor.core.contents.contents import Contents
from supervisor.core.routing.routes import Routes
from supervisor.core.runs.adopt import adopt, open_runs
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.output import Output
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.failures import Failures
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.starts import Starts
from supervisor.core.storage.disk import Disk
from supervisor.core.storage.journal import Journal
from supervisor.core.storage.tasks import Tasks
from supervisor.interfaces import Change, Executor
from supervisor.lifecycle import ENDS
from supervisor.model import (
    Content,
    Deployment,
    Guid,
    Job,
    Lease,
    Plan,
    Purpose,
    Ready,
    Run,
    Scaling,
    Transition,
    new_job_key,
    new_run_id,
)
from supervisor.plugins.loading import Plugins
from supervisor.testing.fakes import MemoryStore
from tests.support.day.processes import Processes
from tests.support.day.world import App, DayLog, World

NODE = "node"


class Ledger(Journal):
    """A journal that keeps what lives and forgets the rest: no threads, no copies."""

    def __init__(self, world: World) -> None:
        lease = Lease(name="data-dir", owner="day", fence=1, expires=0.0)
        super().__init__(MemoryStore(), lease, run_dir="/nonexistent")
        self._world = world
        self.records: dict[str, dict[Any, Any]] = {"content": {}, "deployment": {}, "run": {}}

    async def intent(self, *changes: Change) -> None:
        await trio.sleep(self._world.random.uniform(0.001, 0.01))
        self.fact(*changes)

    def fact(self, *changes: Change) -> None:
        for change in changes:
            record = change.record
            if isinstance(record, Transition):
                self._world.figures["transitions"] += 1
            elif isinstance(record, Run) and record.state in ENDS:
                self.records["run"].pop(record.id, None)
            else:
                self.records[change.kind][record.id] = record

    async def flush(self, seconds: float) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def claim(self, names: Sequence[str], owner: str, ttl: float) -> Sequence[Lease]:
        await trio.lowlevel.checkpoint()  # a thread would take hours of a clock that jumps
        return self._store.claim_all(names, owner, ttl)

    async def get(self, kind: str, key: str | int) -> Any:
        await trio.lowlevel.checkpoint()
        return self.records[kind].get(key)

    async def find(
        self,
        kind: str,
        where: Mapping[str, Any] | None = None,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Sequence[Any]:
        await trio.lowlevel.checkpoint()
        return list(self.records[kind].values())  # what has ended is not kept


async def _unwritten(*_: Any) -> None:
    """Write no log: there are no files in a simulated day."""


@attrs.define(eq=False, kw_only=True)
class DayMakers(Makers):
    """Make workers without a runtime: their plan says no more than where they answer."""

    world: World
    processes: Processes

    async def worker(
        self, content: Content, deployment: Deployment, attempt: int
    ) -> tuple[Worker, Job]:
        await trio.sleep(self.world.random.uniform(0.0, 0.02))
        now = int(trio.current_time() * 1000)
        run = Run(
            id=new_run_id(milliseconds=now, entropy=self.world.random.randbytes(10)),
            key=new_job_key(),
            content=content.id,
            deployment=deployment.id,
            purpose=Purpose.SERVE,
            attempt=attempt,
            executor=self.processes.name,
            node=self.node,
            created=time.time(),  # it is compared with what Contents takes from there
        )
        plan = Plan(argv=("/bin/true",), workdir="/", ready=_rule(run))
        job = Job(run=run.id, content=content.id, purpose=run.purpose, plan=plan)
        self.processes.made[run.id] = (deployment.id, (deployment.id, content.rolled))
        return self.worker_of(run, content, self.processes, _rule(run)), job

    async def adopted(self, run: Run, content: Content, deployment: Deployment) -> Worker:
        self.world.figures["adopted"] += 1
        return self.worker_of(run, content, self.processes, _rule(run))

    def executor_named(self, name: str) -> Executor:
        return self.processes

    def output(self, run: Run) -> Output:
        return Output(run=run.id, path="", clock=trio.current_time, in_thread=_unwritten)


def _rule(run: Run) -> Ready:
    return Ready(path=f"/{run.id}")


@attrs.define(eq=False)
class Core:
    """One life of the core. Cancel `live`: its processes stay, for the next one."""

    world: World
    contents: Contents
    routes: Routes
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    nursery: trio.Nursery | None = None

    def keeper(self, app: App) -> Keeper:
        """Give the keeper of a content."""
        return self.contents.registry.by_guid[app.guid]

    async def live(self, ledger: Ledger, *, task_status: trio.TaskStatus[None]) -> None:
        """Adopt what runs, serve until cancelled."""
        makers = self.contents.makers
        with self.scope:
            async with trio.open_nursery() as nursery:
                self.nursery = self.contents.nursery = nursery
                stored: list[Content] = list(await ledger.find("content", {"removed": None}))
                log = self.routes.log
                living = {content.id: content for content in stored}
                made = {d.id: d for d in await ledger.find("deployment")}
                runs = await open_runs(ledger)
                adopted = await adopt(ledger, makers, living, runs, made, log)
                for content in stored:
                    workers = adopted.get(content.id, ())
                    keeper = await self.contents.open(content, workers, made)
                    dice = random.Random(self.world.random.random())
                    keeper.failures = Failures(dice=dice)
                await nursery.start(self.routes.serve)
                self.world.core, self.world.core_since = self, trio.current_time()
                task_status.started()
                await trio.sleep_forever()


def new_core(
    world: World, ledger: Ledger, processes: Processes, listener: socket.socket, number: int
) -> Core:
    """Wire a core as the server does."""
    log = DayLog(world)
    plugins = Plugins(log=log)
    plugins.executors[processes.name] = processes
    makers = DayMakers(
        journal=ledger,
        plugins=plugins,
        log=log,
        node=NODE,
        data_dir="/nonexistent",
        server="",
        scaling=Scaling(),
        world=world,
        processes=processes,
    )
    contents = Contents(
        journal=ledger,
        makers=makers,
        tasks=Tasks(journal=ledger),
        log=log,
        disk=Disk("/nonexistent"),
        address="http://localhost",
        scaling=Scaling(),
        uid_of=int,
        findings_of=tuple,
        starts=Starts(most=processes.most_starting),
    )
    routes = Routes(
        listener=listener,
        gateway_uid=os.geteuid(),
        key=b"\x01\x02",
        core_id=f"core-{number}",
        wait=65.0,
        keepers=contents.registry.by_guid,
        workers=contents.registry.workers,
        log=log,
    )
    contents.changed = routes.tell
    return Core(world=world, contents=contents, routes=routes)


def guid_of(number: int) -> Guid:
    """Give the guid of a content."""
    return Guid(f"guid-{number}")
