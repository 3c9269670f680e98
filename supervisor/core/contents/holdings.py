"""Holdings: the contents of this node, kept in step with the leases that the database knows.

What it claims gets a keeper, with the processes that were left; what it loses is let go at once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TypeVar

import attrs
import trio

from supervisor.core.contents.contents import Contents
from supervisor.core.runs.adopt import adopt, open_runs, stop_all_of, sweep
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.elsewhere import Elsewhere
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.storage import lease as leases
from supervisor.core.storage.claims import Claims
from supervisor.core.storage.journal import Journal
from supervisor.core.storage.tasks import LiveTask
from supervisor.errors import StoreUnavailable, SupervisorError
from supervisor.interfaces import Lifetime, StoreEvent
from supervisor.lifecycle import ENDS
from supervisor.log import Log
from supervisor.model import (
    BundleId,
    Content,
    ContentId,
    Deployment,
    DeploymentId,
    Lease,
    Run,
    Task,
)

T = TypeVar("T")

CHUNK = 1000  # ids in one question to the store
LATE = 1.5  # times the pause between two looks: one that takes longer does not renew in time
SOON = 0.05  # seconds after the end of another's lease at which to look: it may be renewed yet


@attrs.define(eq=False)
class Holdings:
    """Claim, open, renew, let go. several: whether other nodes may share the database."""

    journal: Journal
    makers: Makers
    contents: Contents
    claims: Claims
    log: Log
    several: bool = False
    _known: dict[ContentId, Content] = attrs.field(factory=dict)
    _seen: frozenset[object] = frozenset()
    _claimed: set[ContentId] = attrs.field(factory=set)  # that have no keeper yet
    _leaving: set[ContentId] = attrs.field(factory=set)  # lost, with processes that still end
    _doubted: trio.Event = attrs.field(factory=trio.Event)
    _tried: float = 0.0  # when somebody last began to renew
    _looking: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    async def begin(self) -> None:
        """At the start: claim what nobody has, adopt what runs, put each content under a keeper.

        `renew` runs by then. Raises StoreUnavailable.
        """
        stored = await self.journal.find("content", {"removed": None})
        runs = await open_runs(self.journal)
        self._known = {content.id: content for content in stored}
        wanted = {*self._known, *(run.content for run in runs)}
        self._claimed |= await self.claims.claim(wanted)
        if self.several:  # whoever had one may have written until we had it
            stored, runs = await self._read(self._claimed)
        await self._open(stored, [run for run in runs if run.content in self._claimed], first=True)
        if self.several:
            await self.look()

    def doubt(self) -> None:
        """Look now: a write was refused since its fence was stale."""
        self._doubted.set()

    def notice(self, events: Sequence[StoreEvent]) -> None:
        """Be told what anybody has changed: look now, where it is a content of another node."""
        ours = {str(keeper.content.id) for keeper in self.contents.registry.by_guid.values()}
        if any(event.kind == "content" and event.key not in ours for event in events):
            self._seen = frozenset()  # so that it is read
            self._doubted.set()

    async def renew(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Renew, and let go what was lost, where a look takes too long for it; until cancelled."""
        self._tried = trio.current_time()
        task_status.started()
        while True:
            await trio.sleep_until(self._tried + LATE * leases.renew_each(self.claims.ttl))
            try:
                await self._renew()
            except StoreUnavailable as error:
                self.log.warning("leases-not-renewed", reason=error.message)
            except Exception as error:  # whatever it is, what we hold must be renewed
                self.log.error("renewal-broke", exc=error)

    def rest(self) -> None:
        """Take nothing more, as this node stops: what it has is renewed until it is given back."""
        self._looking.cancel()

    async def run(self) -> None:
        """Look again and again what comes and goes, until cancelled or told to rest."""
        with self._looking:
            await self._look_again_and_again()

    async def _look_again_and_again(self) -> None:
        pause = leases.renew_each(self.claims.ttl)
        while True:
            with trio.move_on_after(pause):
                await self._doubted.wait()
            self._doubted = trio.Event()
            began, pause = trio.current_time(), leases.renew_each(self.claims.ttl)
            try:
                pause = min(pause, await self.look())
            except StoreUnavailable as error:
                self.log.warning("leases-not-renewed", reason=error.message)
            except Exception as error:  # whatever it is, what we hold must be renewed
                self.log.error("holdings-broke", exc=error)
            if trio.current_time() - began > leases.renew_each(self.claims.ttl):
                pause = 0.0  # we stood still meanwhile: what was seen may be long past

    async def look(self) -> float:
        """Renew all, let go what was lost, take what is free; give the seconds to the next look."""
        now, held = await self._renew()
        if not self.several:
            return leases.renew_each(self.claims.ttl)
        living = [lease for lease in held if lease.expires > now]
        holders = _holders(living)
        await self._learn(living)
        wanted = {*self._known, *filter(None, map(_content, held))}
        await self._take(wanted - holders.keys() - self._leaving)
        self._tell(holders)
        ends = [
            lease.expires - now for lease in living if leases.node_of(lease) != self.claims.node
        ]
        return min([leases.renew_each(self.claims.ttl), *(end + SOON for end in ends)])

    async def _renew(self) -> tuple[float, Sequence[Lease]]:
        """Renew all, let go what was lost; give the database's clock and all leases, if several."""
        self._tried = trio.current_time()
        await self.claims.renew()
        now: float = 0.0
        held: Sequence[Lease] = ()
        try:
            if self.several:
                now, held = await self.journal.leases()
        finally:
            self._lose(_holders(lease for lease in held if lease.expires > now))
        return now, held

    # -- taking -------------------------------------------------------------------------------

    async def _learn(self, living: Sequence[Lease]) -> None:
        """Read which contents there are, where the leases say that it may have changed."""
        seen = frozenset((lease.name, lease.owner, lease.fence) for lease in living)
        news = {content for content in map(_content, living) if content} - self._known.keys()
        if seen != self._seen or news:
            stored = await self.journal.find("content", {"removed": None})
            self._known = {content.id: content for content in stored}
            self._seen = seen

    async def _take(self, free: Collection[ContentId]) -> None:
        """Claim what nobody has, and open what was claimed."""
        if free:
            self._claimed |= await self.claims.claim(free)
        if not self._claimed:
            return
        contents, runs = await self._read(self._claimed)
        self.log.info("contents-taken", contents=len(contents), runs=len(runs))
        await self._open(contents, runs, first=False)
        assert self.contents.nursery is not None
        self.contents.nursery.start_soon(self._sweep_later)

    async def _read(self, wanted: Collection[ContentId]) -> tuple[Sequence[Content], Sequence[Run]]:
        contents: list[Content] = []
        runs: list[Run] = []
        for some in _chunks(wanted):
            contents += await self.journal.find("content", {"id": some})
            runs += await open_runs(self.journal, some)
        return contents, runs

    async def _open(self, contents: Sequence[Content], runs: Sequence[Run], *, first: bool) -> None:
        """Adopt the runs of claimed contents, open keepers, begin their tasks anew."""
        claimed = set(self._claimed)
        living = {c.id: c for c in contents if c.removed is None and c.id in claimed}
        deployments = await self._deployments(living.values(), runs)
        tasks = await self.journal.find("task", {"finished": False})
        adopted = await adopt(
            self.journal, self.makers, living, runs, deployments, self.log, strays=first
        )
        for content in living.values():
            await self.contents.open(content, adopted.get(content.id, ()), deployments)
        self._claimed -= claimed
        self._lose({})  # what was lost while it was opened
        self._resume(claimed & self.claims.contents, living, tasks)
        if gone := claimed - living.keys():
            await self.claims.give_back(gone)

    async def _deployments(
        self, contents: Iterable[Content], runs: Iterable[Run]
    ) -> Mapping[DeploymentId, Deployment]:
        wanted = {content.active_deployment for content in contents}
        wanted |= {run.deployment for run in runs}
        found: dict[DeploymentId, Deployment] = {}
        for some in _chunks(wanted - {None}):
            stored = await self.journal.find("deployment", {"id": some})
            found |= {deployment.id: deployment for deployment in stored}
        return found

    def _resume(
        self,
        claimed: Collection[ContentId],
        living: Mapping[ContentId, Content],
        tasks: Iterable[Task],
    ) -> None:
        """Begin the deployments anew that an earlier core, or another node, has left unfinished."""
        resumed: dict[ContentId, list[tuple[LiveTask, BundleId]]] = {}
        for record in sorted(tasks, key=lambda record: record.created):
            if record.content is None or record.content not in claimed:
                continue
            task = self.contents.tasks.resume(record)
            if record.bundle is None or record.content not in living:
                task.fail(SupervisorError("not-found", "the content was removed meanwhile"))
                continue
            task.say("The server was restarted; the deployment begins anew")
            resumed.setdefault(record.content, []).append((task, record.bundle))
        assert self.contents.nursery is not None
        for number, bundles in resumed.items():
            self.contents.nursery.start_soon(self._publish_in_order, number, bundles)

    async def _publish_in_order(
        self, content: ContentId, bundles: Sequence[tuple[LiveTask, BundleId]]
    ) -> None:
        for task, bundle in bundles:
            await self.contents.publisher.publish(task, content, bundle)

    async def _sweep_later(self) -> None:
        """Once more end what nobody recorded: its start may have come through after our look."""
        await trio.sleep(self.claims.ttl)
        for executor in self.makers.executors.by_name.values():
            if executor.capabilities.lifetime is Lifetime.REMOTE:
                await sweep(executor, self.journal, self.makers, self.log)

    # -- losing -------------------------------------------------------------------------------

    def _lose(self, holders: Mapping[ContentId, str]) -> None:
        """Let go what has a keeper and is not ours any more. holders: who has what, if known."""
        node = self.claims.node
        ours = {c for c in self.claims.contents if holders.get(c, node) == node}
        every = self.contents.registry.by_guid.values()
        keepers = [keeper for keeper in every if keeper.content.id not in ours]
        lost = frozenset(keeper.content.id for keeper in keepers)
        self._claimed &= ours
        if not lost:
            return
        for keeper in keepers:
            node = holders.get(keeper.content.id, "")
            self._known[keeper.content.id] = keeper.content
            del self.contents.registry.by_guid[keeper.content.guid]
            self.log.error(
                "content-lost",
                content=keeper.content.id,
                name=keeper.content.name,
                holder=node[: leases.SHORT],
                processes=len(keeper.workers),
                reason="this node did not renew its lease in time; its processes are stopped",
            )
        self._leaving |= lost
        assert self.contents.nursery is not None
        self.contents.nursery.start_soon(self._leave, keepers, lost)

    async def _leave(self, keepers: Sequence[Keeper], lost: frozenset[ContentId]) -> None:
        try:
            async with trio.open_nursery() as nursery:
                for keeper in keepers:
                    nursery.start_soon(self._leave_one, keeper)
            but = self.contents.registry.workers.keys()
            await stop_all_of(lost, but, self.journal, self.makers, self.log)
        except Exception as error:
            self.log.error("content-not-left", exc=error)
        finally:
            self._leaving -= lost

    async def _leave_one(self, keeper: Keeper) -> None:
        stays = [worker for worker in list(keeper.workers) if await self._stays(worker)]
        for worker in await keeper.leave("another node has taken over the content", stays):
            self.log.error(
                "process-left-behind",
                content=keeper.content.id,
                run=worker.id,
                reason=worker.tracked.run.reason or "it does not end",
            )

    async def _stays(self, worker: Worker) -> bool:
        """Whether a process is the new holder's: it outlives nodes and was not given up as lost."""
        if worker.executor.capabilities.lifetime is not Lifetime.REMOTE:
            return False
        try:
            run = await self.journal.get("run", worker.id)
        except StoreUnavailable:
            return True
        return isinstance(run, Run) and run.state not in ENDS

    def _tell(self, holders: Mapping[ContentId, str]) -> None:
        registry = self.contents.registry
        registry.elsewhere.clear()
        for content in self._known.values():
            if content.guid not in registry.by_guid:
                node = holders.get(content.id, "")
                registry.elsewhere[content.guid] = Elsewhere(content=content, node=node)


def _content(lease: Lease) -> ContentId | None:
    return leases.content_of(lease.name)


def _holders(living: Iterable[Lease]) -> dict[ContentId, str]:
    """Give who has which content."""
    found = ((_content(lease), lease.owner) for lease in living)
    return {content: owner for content, owner in found if content is not None}


def _chunks(ids: Iterable[T]) -> Iterable[tuple[T, ...]]:
    every = tuple(ids)
    return (every[start : start + CHUNK] for start in range(0, len(every), CHUNK))
