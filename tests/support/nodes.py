"""Nodes in one process: cores that share a store, each with an executor of its own and one for all.

The store's clock is trio's, so that a mock clock carries leases through hours. A node that stands
still gets no answer from its store; one that is killed is cancelled, and its own processes with it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, Unpack

import attrs
import trio

from supervisor.core.contents.contents import Contents
from supervisor.core.contents.holdings import Holdings
from supervisor.core.runs.executors import Executors
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.output import Output
from supervisor.core.runs.worker import Worker
from supervisor.core.storage import lease as leases
from supervisor.core.storage.claims import Claims
from supervisor.core.storage.disk import Disk
from supervisor.core.storage.journal import Journal
from supervisor.core.storage.lease import Owner
from supervisor.core.storage.tasks import Tasks
from supervisor.interfaces import Change, Lifetime
from supervisor.log import Log
from supervisor.model import (
    Content,
    ContentId,
    Deployment,
    Job,
    Overrides,
    Run,
    Scaling,
)
from supervisor.plugins.loading import Plugins
from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.fakes import MemoryStore
from supervisor.testing.house import CONNECT, a_content, a_deployment, a_job, a_run, at_once

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
TTL = 30.0


class FarExecutor(ScriptedExecutor):
    """One whose processes outlive every node."""

    name = "far"
    capabilities = attrs.evolve(ScriptedExecutor.capabilities, lifetime=Lifetime.REMOTE)


class HaltingJournal(Journal):
    """A journal without threads that gets no answer while its node stands still."""

    going: trio.Event

    async def _call(self, method: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()
        await self.going.wait()
        return method(*args)


@attrs.define(eq=False)
class NodeMakers(Makers):
    """Make workers without a runtime."""

    async def worker(
        self, content: Content, deployment: Deployment, attempt: int
    ) -> tuple[Worker, Job]:
        await trio.lowlevel.checkpoint()
        executor = self.executor_named(content.executor or "scripted")
        run = a_run(
            content=content.id,
            deployment=deployment.id,
            node=self.node,
            executor=executor.name,
            created=trio.current_time(),
        )
        return self.worker_of(run, content, executor, CONNECT), a_job(run)

    async def adopted(self, run: Run, content: Content, deployment: Deployment) -> Worker:
        await trio.lowlevel.checkpoint()
        return self.worker_of(run, content, self.executor_named(run.executor), CONNECT)

    def output(self, run: Run) -> Output:
        path = f"{self.data_dir}/{self.node}-{run.id}/log"
        return Output(run=run.id, path=path, clock=trio.current_time, in_thread=at_once)


@attrs.define(eq=False)
class LiveNode:
    """One node: its core, and the executor of its own processes."""

    name: str
    local: ScriptedExecutor
    journal: HaltingJournal
    claims: Claims
    contents: Contents
    holdings: Holdings
    core: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: trio.Event = attrs.field(factory=trio.Event)

    @property
    def has(self) -> set[int]:
        """The contents that have a keeper here."""
        return {int(keeper.content.id) for keeper in self.contents.registry.by_guid.values()}

    @property
    def workers(self) -> list[Worker]:
        return list(self.contents.registry.workers.values())

    def halt(self) -> None:
        """Stand still from now on, as far as the store can see."""
        self.journal.going = trio.Event()

    def go_on(self) -> None:
        self.journal.going.set()

    async def kill(self) -> None:
        """End its core, then all of its own processes, without a word to the store."""
        self.core.cancel()
        await self.ended.wait()
        for run in self.local.living:
            run.dies(run.behaviour.end)

    async def live(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with self.core:
                async with trio.open_nursery() as nursery:
                    await nursery.start(self.journal.run)
                    self.contents.nursery = nursery
                    await nursery.start(self.holdings.renew)
                    await self.holdings.begin()
                    nursery.start_soon(self.holdings.run)
                    task_status.started()
                    await trio.sleep_forever()
        finally:
            self.ended.set()


@attrs.define(eq=False)
class Cluster:
    """A store, an executor for all, and nodes that come and go."""

    store: MemoryStore
    far: FarExecutor
    directory: Path
    nursery: trio.Nursery
    _pids: Any = attrs.field(factory=lambda: itertools.count(1_000_000_000))

    def publish(self, number: int, **fields: Any) -> Content:
        """Record a content with an active deployment, which wants one process."""
        scaling = Overrides(least=1)
        content = a_content(number, active_deployment=number, scaling=scaling, **fields)
        self.store.apply(
            [
                Change(kind="content", record=content, was=0),
                Change(kind="deployment", record=a_deployment(number, number), was=0),
            ]
        )
        self.store.next_id("content")
        return content

    async def node(self, name: str, *, several: bool = True, seats: int = 0) -> LiveNode:
        """Start a node, as the server does."""
        log = Log("core", level="error")
        owner = Owner(node=name, pid=next(self._pids), host="h", since="now", tick=1)
        held = leases.join(self.store, owner, several=several, ttl=TTL)
        journal = HaltingJournal(
            self.store, held, run_dir=self._made(f"{name}-run"), ttl=TTL, log=log
        )
        journal.going = trio.Event()
        journal.going.set()
        claims = Claims(journal=journal, node=name, ttl=TTL, seats=seats)
        journal.fence_of = claims.fence
        local = ScriptedExecutor(self._made(name))
        await self.nursery.start(_serve, local)
        plugins = Plugins(log=log)
        plugins.executors.update({"scripted": local, "far": self.far})
        makers = NodeMakers(
            journal=journal,
            plugins=plugins,
            log=log,
            node=name,
            data_dir=str(self._made("data")),
            server="",
            scaling=Scaling(),
            executors=Executors.served(plugins.executors, log),
        )
        contents = Contents(
            journal=journal,
            makers=makers,
            claims=claims,
            tasks=Tasks(journal=journal),
            log=log,
            disk=Disk(str(self._made("data"))),
            address="http://s",
            scaling=Scaling(),
            uid_of=int,
            findings_of=lambda: (),
        )
        holdings = Holdings(
            journal=journal,
            makers=makers,
            contents=contents,
            claims=claims,
            log=log,
            several=several,
        )
        journal.doubted = holdings.doubt
        node = LiveNode(name, local, journal, claims, contents, holdings)
        await self.nursery.start(node.live)
        return node

    def _made(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir(exist_ok=True)
        return path

    def holder(self, number: int) -> str:
        """Who holds a content now, "" for nobody."""
        now, held = self.store.leases()
        name = leases.of_content(ContentId(number))
        return next((one.owner for one in held if one.name == name and one.expires > now), "")

    def run(self, run: str) -> Run:
        found = self.store.get("run", run)
        assert isinstance(found, Run)
        return found


async def _serve(executor: ScriptedExecutor, *, task_status: trio.TaskStatus[None]) -> None:
    await executor.serve(task_status=task_status)


@asynccontextmanager
async def cluster_in(directory: Path) -> AsyncIterator[Cluster]:
    """Give a cluster without nodes. The test needs a mock clock."""
    store = MemoryStore(clock=trio.current_time)
    (directory / "far").mkdir()
    far = FarExecutor(directory / "far")
    async with trio.open_nursery() as nursery:
        await nursery.start(_serve, far)
        yield Cluster(store=store, far=far, directory=directory, nursery=nursery)
        nursery.cancel_scope.cancel()
