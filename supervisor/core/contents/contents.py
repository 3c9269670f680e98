"""Contents: what the API may ask of keepers and workers, and do with them."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import attrs
import trio

from supervisor import bounds
from supervisor.core.contents import newest
from supervisor.core.contents.copying import Copying
from supervisor.core.contents.publish import Publisher
from supervisor.core.contents.recorded import open_if_recorded
from supervisor.core.contents.running import Running
from supervisor.core.contents.views import SessionUsage, content_view, no_usage, session_views
from supervisor.core.retention import Going, Retention
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.output import read_tail
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.elsewhere import Elsewhere, lease_views, no_seat
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.registry import Registry, stored_run
from supervisor.core.scheduling.starts import Starts
from supervisor.core.service import (
    Assignment,
    ContentView,
    LeaseView,
    LogLine,
    PluginView,
    RunView,
    Service,
    SessionView,
)
from supervisor.core.storage.claims import Claims
from supervisor.core.storage.disk import Disk
from supervisor.core.storage.journal import Journal
from supervisor.core.storage.tasks import Tasks
from supervisor.core.storage.uploads import store_bundle
from supervisor.core.upkeep.backup import Backup
from supervisor.core.upkeep.sweep import Sweep
from supervisor.core.upkeep.upkeep import Upkeep
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change, Finding
from supervisor.log import Log
from supervisor.model import (
    Bundle,
    BundleId,
    Content,
    ContentId,
    Deployment,
    DeploymentId,
    Overrides,
    Run,
    Scaling,
    Task,
    new_guid,
)  # fmt: skip
from supervisor.settings.sections import Scheduler

_NAME = re.compile(r"[A-Za-z0-9_-]{3,64}\Z")


@attrs.define(eq=False)
class Contents(Service):
    """All contents of this server. One keeper each, in `nursery`."""

    journal: Journal
    makers: Makers
    tasks: Tasks
    log: Log
    disk: Disk
    address: str
    scaling: Scaling
    uid_of: Callable[[ContentId], int]
    findings_of: Callable[[], Sequence[Finding]]
    reload_server: Callable[[], Awaitable[None]] | None = None
    scheduler: Scheduler = Scheduler()
    starts: Starts = attrs.field(factory=lambda: Starts(most=4))
    changed: Callable[[Worker], None] = lambda worker: None
    usage: Callable[[], Awaitable[SessionUsage]] = no_usage
    registry: Registry = attrs.field(factory=Registry)
    claims: Claims = attrs.field(
        default=attrs.Factory(
            lambda self: Claims(journal=self.journal, node=self.makers.node), takes_self=True
        )
    )
    publisher: Publisher = attrs.field(init=False)
    retention: Retention = Retention()
    sweep_each: float = 0.0
    upkeep: Upkeep = attrs.field(init=False)
    nursery: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        self.makers.changed = self._changed
        self.publisher = Publisher(
            journal=self.journal,
            log=self.log,
            executor=self.makers.keeper_of_files,
            unpack=self.makers.unpack,
            detect=self.makers.detect,
            installation=self.makers.installations.choose,
            keeper=self.registry.keeper_of,
            url=self.url,
        )
        self.upkeep = Upkeep(
            sweep=Sweep(
                journal=self.journal,
                registry=self.registry,
                claims=self.claims,
                executor=self.makers.keeper_of_files,
                turn=self.publisher.turn,
                data_dir=self.disk.path,
                keep=self.retention,
                log=self.log,
            ),
            disk=self.disk,
            backups=Backup(
                journal=self.journal, disk=self.disk, archive=self.makers.archive, log=self.log
            ),
            log=self.log,
            interval=self.sweep_each,
        )

    # -- keepers ------------------------------------------------------------------------------

    async def open(
        self,
        content: Content,
        workers: Sequence[Worker] = (),
        deployments: Mapping[DeploymentId, Deployment] = MappingProxyType({}),
    ) -> Keeper:
        """Put a content under a keeper, with the workers that were adopted for it.

        deployments: its active one, and those of the workers.
        """
        assert self.nursery is not None
        active = content.active_deployment
        deployment = None if active is None else deployments.get(active)
        keeper = Keeper(
            content=content,
            deployment=deployment,
            defaults=self.scaling,
            make=self.makers.worker,
            changed=self.changed,
            deserted=self.upkeep.deserted,
            log=self.log,
            starts=self.starts,
            workers=list(workers),
            known={w.deployment: deployments[w.deployment] for w in workers},
        )
        for worker in workers:
            self.registry.workers[worker.id] = worker
        self.registry.by_guid[content.guid] = keeper
        self.registry.elsewhere.pop(content.guid, None)
        await self.nursery.start(keeper.run)
        return keeper

    def _changed(self, worker: Worker) -> None:
        if worker.gone.is_set():
            self.registry.workers.pop(worker.id, None)
        else:
            self.registry.workers[worker.id] = worker
        keeper = self.registry.by_guid.get(worker.guid)
        if keeper is not None:
            keeper.notice(worker)
        else:
            self.changed(worker)  # of a content that is being removed

    def url(self, content: Content) -> str:
        """Where people find it."""
        return f"{self.address.rstrip('/')}/content/{content.guid}/"

    # -- what people see ----------------------------------------------------------------------

    async def contents(self) -> Sequence[ContentView]:
        ours = [content_view(keeper, self.url(keeper.content)) for keeper in self._by_name()]
        theirs = [self._view_away(away) for away in self.registry.elsewhere.values()]
        return sorted([*ours, *theirs], key=lambda view: view.content.name)

    def _view_away(self, away: Elsewhere) -> ContentView:
        return away.view(self.url(away.content), self.scaling)

    async def content(self, ref: str) -> ContentView:
        away = self.registry.away(ref)
        if away is not None:
            return self._view_away(away)
        keeper = self.registry.keeper(ref)
        return content_view(keeper, self.url(keeper.content))

    async def runs(self, ref: str | None = None, *, ended: bool = False) -> Sequence[RunView]:
        running = Running(registry=self.registry, makers=self.makers, journal=self.journal)
        return await running.views(ref, ended=ended)

    async def leases(self) -> Sequence[LeaseView]:
        return lease_views(*await self.journal.leases())

    async def logs(
        self, ref: str, *, follow: bool = False, tail: int = 100
    ) -> AsyncGenerator[LogLine, None]:
        keeper, away = self.registry.find(ref), self.registry.away(ref)
        worker = self.registry.worker(ref) if keeper is None and away is None else None
        workers = list(keeper.workers) if keeper else [worker] if worker else []
        old: Sequence[Run] = []
        if (known := keeper or away) is not None and not workers:
            where = {"content": known.content.id}
            old = await self.journal.find("run", where, newest_first=True, limit=1)
        elif not workers:
            old = [await stored_run(self.journal, ref)]
        for run in old:
            path = self.makers.log_path(run)
            for line in await trio.to_thread.run_sync(read_tail, path, run.id, tail):
                yield line
        if keeper is None and worker is None:
            return
        # no nursery may be open where a generator yields: the copying is done elsewhere
        assert self.nursery is not None
        copying = Copying(keeper=keeper, workers=workers, tail=tail, follow=follow)
        self.nursery.start_soon(copying.run)
        try:
            async for line in copying.lines:
                yield line
        finally:
            copying.cancel()

    async def task(self, task_id: str, *, first: int = 0, wait: float = 0.0) -> Task:
        return await self.tasks.get(task_id, first=first, wait=wait)

    async def plugins(self) -> Sequence[PluginView]:
        return self.makers.plugins.views()

    async def findings(self) -> Sequence[Finding]:
        await self.makers.installations.known()
        found = [*self.findings_of(), await trio.to_thread.run_sync(self.disk.finding)]
        return [*found, *await self.makers.executors.check()]

    # -- what people do -----------------------------------------------------------------------

    async def create_content(self, name: str, title: str = "") -> Content:
        if not _NAME.match(name):
            raise SupervisorError(
                "bad-request",
                f"{name!r} cannot be a name: 3 to 64 letters, digits, _ and - can",
            )
        if any(keeper.content.name == name for keeper in self.registry.by_guid.values()):
            raise SupervisorError(
                "conflict",
                f"there is a content named {name!r} already",
                hint="Choose another name, or remove that content first.",
            )
        number = ContentId(await self.journal.next_id("content"))
        content = Content(
            id=number,
            guid=new_guid(),
            name=name,
            title=title,
            uid=self.uid_of(number),
            created=time.time(),
        )
        with trio.CancelScope(shield=True):  # what is recorded has a keeper, whoever hangs up
            if not await self.claims.claim([number]):
                raise no_seat(self.claims.seats)
            try:
                await self.journal.intent(Change(kind="content", record=content, was=0))
            except SupervisorError:  # it may be recorded all the same
                assert self.nursery is not None
                known = (self.journal, self.claims, self.registry, self.open)
                self.nursery.start_soon(open_if_recorded, number, *known)
                raise
            await self.open(content)
        return content

    async def retitle(self, ref: str, title: str) -> None:
        await self._change(self.registry.keeper(ref), title=title)

    async def receive_bundle(
        self, ref: str, chunks: AsyncIterator[bytes], *, size: int = 0
    ) -> Bundle:
        keeper = self.registry.keeper(ref)
        digest, size = await store_bundle(self.disk, chunks, announced=size)
        bundle = Bundle(
            id=BundleId(await self.journal.next_id("bundle")),
            content=keeper.content.id,
            digest=digest,
            size=size,
            created=time.time(),
        )
        await self.journal.intent(Change(kind="bundle", record=bundle, was=0))
        return bundle

    async def deploy(self, ref: str, bundle: int | None = None) -> Task:
        keeper = self.registry.keeper(ref)
        content = keeper.content.id
        where = {"content": content}
        if bundle is None:
            newest = await self.journal.find("bundle", where, newest_first=True, limit=1)
            if not newest:
                raise SupervisorError(
                    "not-found",
                    "no bundle has been uploaded yet",
                    hint="`supervisor deploy DIR` uploads one.",
                )
            found = newest[0]
        else:
            found = await self.journal.get("bundle", bundle)
            if not isinstance(found, Bundle) or found.content != content or found.is_going:
                raise SupervisorError("not-found", f"this content has no bundle {bundle}")
        assert self.nursery is not None
        with trio.CancelScope(shield=True):  # what is recorded is done, whoever hangs up
            live = await self.tasks.open(content, found.id)
            self.nursery.start_soon(self.publisher.publish, live, content, found.id)
        return live.record

    async def stop(self, ref: str) -> None:
        keeper = self.registry.find(ref)
        if keeper is not None:
            content = await self._change(keeper, stopped=True)
            keeper.stop(content, "stopped by an administrator")
            return
        self.registry.living(ref).stop("stopped by an administrator")

    async def restart(self, ref: str, *, rolling: bool = False) -> None:
        keeper = self.registry.keeper(ref)
        if rolling and not keeper.content.stopped:
            await self._replace(keeper)
        else:
            keeper.restart(await self._change(keeper, stopped=False))

    async def scale(self, ref: str, overrides: Overrides) -> None:
        keeper = self.registry.keeper(ref)
        least, most = self.scheduler.least_limit, self.scheduler.most_limit
        bounds.check(overrides.over(self.scaling), least_limit=least, most_limit=most)
        await self._change(keeper, scaling=overrides)
        keeper.rescale()

    async def assign(self, ref: str, to: Assignment) -> None:
        keeper = self.registry.keeper(ref)
        fields = attrs.asdict(to, recurse=False)
        changed = attrs.evolve(keeper.content, **fields)
        if changed != keeper.content:
            await self.makers.check_assigned(changed, keeper.content)
            await self._replace(keeper, **fields)

    async def _replace(self, keeper: Keeper, **fields: Any) -> None:
        await self._change(keeper, rolled=keeper.after_all_runs(time.time()), **fields)
        keeper.roll()

    async def sessions(self, ref: str | None = None) -> Sequence[SessionView]:
        keepers = [self.registry.keeper(ref)] if ref is not None else self._by_name()
        usage = await self.usage()
        return [view for keeper in keepers for view in session_views(keeper, usage)]

    def _by_name(self) -> Sequence[Keeper]:
        return sorted(self.registry.by_guid.values(), key=lambda keeper: keeper.content.name)

    async def reload(self) -> None:
        if self.reload_server is None:
            raise SupervisorError("unavailable", "this core runs without a parent")
        await self.reload_server()

    async def clean(self, *, dry: bool = False) -> Sequence[Going]:
        return await self.upkeep.clean(dry=dry)

    def backup(self) -> AsyncGenerator[bytes, None]:
        return self.upkeep.backup()

    async def kill(self, ref: str) -> None:
        worker = self.registry.living(ref)
        worker.stop("killed by an administrator", grace=0.0)

    async def remove(self, ref: str) -> None:
        keeper = self.registry.keeper(ref)
        content = await self._change(keeper, removed=time.time(), stopped=True)
        del self.registry.by_guid[content.guid]
        await keeper.close("removed", 5.0)
        await self.upkeep.removed(content)
        await self.claims.give_back([content.id])

    async def _change(self, keeper: Keeper, **fields: Any) -> Content:
        async def write(was: Content) -> None:
            content = attrs.evolve(was, version=was.version + 1, **fields)
            with trio.CancelScope(shield=True):  # the keeper must know what is recorded
                await self.journal.intent(Change(kind="content", record=content, was=was.version))
            keeper.content = content

        async with keeper.changing:
            await newest.change(self.journal, keeper, write)
            return keeper.content
