"""Contents: the registry of keepers and workers, and what the API may do with them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

import attrs
import trio

from supervisor.core.journal import Journal
from supervisor.core.keeper import Keeper, Verdict
from supervisor.core.makers import Makers
from supervisor.core.output import read_tail
from supervisor.core.placing import deployment_place
from supervisor.core.publish import Publisher, store_bundle
from supervisor.core.service import ContentView, LogLine, PluginView, RunView, Service
from supervisor.core.tasks import Tasks
from supervisor.core.worker import Worker
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change, Finding
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import (
    Bundle,
    BundleId,
    Content,
    ContentId,
    Deployment,
    Guid,
    PlaceKind,
    PlaceRef,
    Purpose,
    Run,
    RunId,
    Scaling,
    Task,
    Usage,
    new_guid,
)

_NAME = re.compile(r"[A-Za-z0-9_-]{3,64}\Z")
_STATES = {
    Verdict.WORKER: "running",
    Verdict.FAILED: "failed",
    Verdict.STOPPED: "stopped",
    Verdict.EMPTY: "empty",
}


@attrs.define(eq=False)
class Contents(Service):
    """All contents of this server. One keeper each, in `nursery`."""

    journal: Journal
    makers: Makers
    tasks: Tasks
    log: Log
    data_dir: str
    address: str
    scaling: Scaling
    uid_of: Callable[[ContentId], int]
    findings_of: Callable[[], Sequence[Finding]]
    changed: Callable[[Worker], None] = lambda worker: None
    by_guid: dict[Guid, Keeper] = attrs.field(factory=dict)
    workers: dict[RunId, Worker] = attrs.field(factory=dict)
    publisher: Publisher = attrs.field(init=False)
    nursery: trio.Nursery | None = None

    def __attrs_post_init__(self) -> None:
        self.makers.changed = self._changed
        self.publisher = Publisher(
            journal=self.journal,
            log=self.log,
            executor=lambda content: self.makers.executor(content, Purpose.UNPACK),
            unpack=self.makers.unpack,
            detect=self.makers.detect,
            installation=self.makers.installation,
            keeper=self._keeper_of,
            url=self.url,
        )

    # -- registry -----------------------------------------------------------------------------

    async def open(self, content: Content, workers: Sequence[Worker]) -> Keeper:
        """Put a content under a keeper, with the workers that were adopted for it."""
        assert self.nursery is not None
        deployment: Deployment | None = None
        if content.active_deployment is not None:
            deployment = await self.journal.get("deployment", content.active_deployment)
        keeper = Keeper(
            content=content,
            deployment=deployment,
            make=self.makers.worker,
            changed=self.changed,
            deserted=self._deserted,
            log=self.log,
            workers=list(workers),
        )
        for worker in workers:
            self.workers[worker.id] = worker
        self.by_guid[content.guid] = keeper
        await self.nursery.start(keeper.run)
        return keeper

    def _changed(self, worker: Worker) -> None:
        if worker.gone.is_set():
            self.workers.pop(worker.id, None)
        else:
            self.workers[worker.id] = worker
        keeper = self.by_guid.get(worker.guid)
        if keeper is not None:
            keeper.notice(worker)

    async def _deserted(self, deployment: Deployment) -> None:
        """Remove the directory of a deployment that nobody runs or will run."""
        keeper = self._find(str(deployment.content))
        active = keeper.content.active_deployment if keeper else None
        if deployment.id == active:
            return
        place = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(deployment.content, deployment.id))
        for executor in self.makers.plugins.executors.values():
            if executor.capabilities.shared_files:
                try:
                    await executor.remove(place)
                except SupervisorError as error:
                    self.log.warning(
                        "directory-left", deployment=deployment.id, error=error.message
                    )

    def _find(self, ref: str) -> Keeper | None:
        keeper = self.by_guid.get(Guid(ref))
        if keeper is not None:
            return keeper
        named = (k for k in self.by_guid.values() if k.content.name == ref)
        numbered = (k for k in self.by_guid.values() if str(k.content.id) == ref)
        return next(named, None) or next(numbered, None)

    def _keeper(self, ref: str) -> Keeper:
        keeper = self._find(ref)
        if keeper is None:
            raise SupervisorError(
                "not-found",
                f"there is no content {ref!r}",
                hint="`supervisor list` shows them all.",
            )
        return keeper

    def _keeper_of(self, content: ContentId) -> Keeper:
        return self._keeper(str(content))

    def _worker(self, ref: str) -> Worker | None:
        """Find a living worker by its run id, or by a beginning of it of 4 characters or more."""
        if RunId(ref) in self.workers:
            return self.workers[RunId(ref)]
        found = [w for run, w in self.workers.items() if len(ref) >= 4 and run.startswith(ref)]
        if len(found) > 1:
            raise SupervisorError("bad-request", f"{ref!r} is the beginning of several runs")
        return found[0] if found else None

    def url(self, content: Content) -> str:
        """Where people find it."""
        return f"{self.address.rstrip('/')}/content/{content.guid}/"

    # -- what people see ----------------------------------------------------------------------

    async def contents(self) -> Sequence[ContentView]:
        keepers = sorted(self.by_guid.values(), key=lambda keeper: keeper.content.name)
        return [self._view(keeper) for keeper in keepers]

    async def content(self, ref: str) -> ContentView:
        return self._view(self._keeper(ref))

    def _view(self, keeper: Keeper) -> ContentView:
        answer = keeper.now()
        state = _STATES.get(answer.verdict) or ("starting" if keeper.workers else "sleeping")
        return ContentView(
            content=keeper.content,
            state=state,
            reason=keeper.failure.reason if keeper.failure else "",
            url=self.url(keeper.content),
            processes=len(keeper.workers),
            sessions=sum(worker.sockets for worker in keeper.workers),
        )

    async def runs(self, ref: str | None = None, *, ended: bool = False) -> Sequence[RunView]:
        keeper = self._keeper(ref) if ref is not None else None
        usage = await self._usage()
        views = [
            self._run_view(worker.tracked.run, worker, usage.get(worker.id))
            for worker in self.workers.values()
            if keeper is None or worker.guid == keeper.content.guid
        ]
        if ended:
            where = {} if keeper is None else {"content": keeper.content.id}
            stored = await self.journal.find("run", where, newest_first=True, limit=100)
            views += [self._run_view(run) for run in stored if run.id not in self.workers]
        return sorted(views, key=lambda view: view.run.id, reverse=True)

    def _run_view(
        self, run: Run, worker: Worker | None = None, used: Usage | None = None
    ) -> RunView:
        keeper = self._find(str(run.content))
        since = run.started or run.created
        return RunView(
            run=run,
            content_name=keeper.content.name if keeper else f"(removed {run.content})",
            content_guid=keeper.content.guid if keeper else "",
            pid=worker.pid if worker else None,
            sessions=worker.sockets if worker else 0,
            requests=worker.requests if worker else 0,
            cpu=used.cpu if used else None,
            memory=used.memory if used else None,
            processes=used.processes if used else None,
            age=max(0.0, (run.ended or time.time()) - since),
        )

    async def _usage(self) -> dict[RunId, Usage]:
        used: dict[RunId, Usage] = {}
        for name, executor in self.makers.plugins.executors.items():
            theirs = [w.id for w in self.workers.values() if w.executor.name == name]
            if theirs and executor.capabilities.usage:
                with suppress(SupervisorError):
                    with trio.move_on_after(2.0):
                        used.update(await executor.usage(theirs))
        return used

    async def logs(
        self, ref: str, *, follow: bool = False, tail: int = 100
    ) -> AsyncIterator[LogLine]:
        keeper = self._find(ref)
        if keeper is None:
            worker = self._worker(ref)
            if worker is None:
                for line in await self._old_lines(await self._stored_run(ref), tail):
                    yield line
                return
            workers = [worker]
        else:
            workers = list(keeper.workers)
        if not workers and keeper is not None:
            newest = await self.journal.find(
                "run", {"content": keeper.content.id}, newest_first=True, limit=1
            )
            for run in newest:
                for line in await self._old_lines(run, tail):
                    yield line
        async with trio.open_nursery() as nursery:
            send, receive = trio.open_memory_channel[LogLine](100)
            async with send:
                for worker in workers:
                    nursery.start_soon(_copy, worker, tail, follow, send.clone())
                if keeper is not None and follow:
                    nursery.start_soon(self._copy_new, keeper, set(workers), send.clone())
            async with receive:
                async for line in receive:
                    yield line

    async def _copy_new(
        self, keeper: Keeper, seen: set[Worker], send: trio.MemorySendChannel[LogLine]
    ) -> None:
        """Follow the workers that start later."""
        async with send, trio.open_nursery() as nursery:
            while True:
                for worker in keeper.workers:
                    if worker not in seen:
                        seen.add(worker)
                        nursery.start_soon(_copy, worker, 200, True, send.clone())
                await keeper.news()

    async def _stored_run(self, ref: str) -> Run:
        run = await self.journal.get("run", ref)
        if not isinstance(run, Run):
            recent = await self.journal.find("run", {}, newest_first=True, limit=1000)
            found = [run for run in recent if len(ref) >= 4 and run.id.startswith(ref)]
            if len(found) != 1:
                raise SupervisorError("not-found", f"there is no content or run {ref!r}")
            (run,) = found
        assert isinstance(run, Run)
        return run

    async def _old_lines(self, run: Run, tail: int) -> list[LogLine]:
        path = self.makers.log_path(run)
        return await trio.to_thread.run_sync(read_tail, path, run.id, tail)

    async def task(self, task_id: str, *, first: int = 0, wait: float = 0.0) -> Task:
        return await self.tasks.get(task_id, first=first, wait=wait)

    async def plugins(self) -> Sequence[PluginView]:
        return self.makers.plugins.views()

    async def findings(self) -> Sequence[Finding]:
        found = list(self.findings_of())
        for name, executor in self.makers.plugins.executors.items():
            try:
                with trio.fail_after(20):
                    found += await executor.check()
            except (SupervisorError, trio.TooSlowError) as error:
                found.append(Finding(name=name, ok=False, text=str(error) or "no answer in 20 s"))
        return found

    # -- what people do -----------------------------------------------------------------------

    async def create_content(self, name: str, title: str = "") -> Content:
        if not _NAME.match(name):
            raise SupervisorError(
                "bad-request",
                f"{name!r} cannot be a name: 3 to 64 letters, digits, _ and - can",
            )
        if any(keeper.content.name == name for keeper in self.by_guid.values()):
            raise SupervisorError("conflict", f"there is a content named {name!r} already")
        number = ContentId(await self.journal.next_id("content"))
        content = Content(
            id=number,
            guid=new_guid(),
            name=name,
            title=title,
            uid=self.uid_of(number),
            scaling=self.scaling,
            created=time.time(),
        )
        await self.journal.intent(Change(kind="content", record=content, was=0))
        await self.open(content, ())
        return content

    async def receive_bundle(self, ref: str, chunks: AsyncIterator[bytes]) -> Bundle:
        keeper = self._keeper(ref)
        digest, size = await store_bundle(self.data_dir, chunks)
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
        keeper = self._keeper(ref)
        content = keeper.content.id
        where = {"content": content}
        if bundle is None:
            newest = await self.journal.find("bundle", where, newest_first=True, limit=1)
            if not newest:
                raise SupervisorError("not-found", "no bundle has been uploaded yet")
            found = newest[0]
        else:
            found = await self.journal.get("bundle", bundle)
            if not isinstance(found, Bundle) or found.content != content:
                raise SupervisorError("not-found", f"this content has no bundle {bundle}")
        live = await self.tasks.open(content, found.id)
        assert self.nursery is not None
        self.nursery.start_soon(self.publisher.publish, live, content, found.id)
        return live.record

    async def stop(self, ref: str) -> None:
        keeper = self._find(ref)
        if keeper is not None:
            content = await self._change(keeper, stopped=True)
            keeper.stop(content, "stopped by an administrator")
            return
        self._living(ref).stop("stopped by an administrator")

    async def restart(self, ref: str) -> None:
        keeper = self._keeper(ref)
        keeper.restart(await self._change(keeper, stopped=False))

    async def kill(self, ref: str) -> None:
        worker = self._living(ref)
        worker.stop("killed by an administrator", grace=0.0)

    async def remove(self, ref: str) -> None:
        keeper = self._keeper(ref)
        content = await self._change(keeper, removed=time.time(), stopped=True)
        del self.by_guid[content.guid]
        await keeper.close("removed", 5.0)
        places = [PlaceRef(kind=PlaceKind.STATE, ids=(content.id,))]
        for deployment in await self.journal.find("deployment", {"content": content.id}):
            places.append(deployment_place(content, deployment))
        executor = self.makers.executor(content, Purpose.UNPACK)
        for place in places:
            await executor.remove(place)
        await self._remove_bundles(content)

    async def _remove_bundles(self, content: Content) -> None:
        for bundle in await self.journal.find("bundle", {"content": content.id}):
            others = await self.journal.find("bundle", {"digest": bundle.digest})
            if all(other.content == content.id for other in others):
                path = os.path.join(self.data_dir, "bundles", f"{bundle.digest}.tar.gz")
                with suppress(OSError):
                    os.unlink(path)

    async def _change(self, keeper: Keeper, **fields: Any) -> Content:
        was = keeper.content
        content = attrs.evolve(was, version=was.version + 1, **fields)
        await self.journal.intent(Change(kind="content", record=content, was=was.version))
        keeper.content = content
        return content

    def _living(self, ref: str) -> Worker:
        worker = self._worker(ref)
        if worker is None:
            raise SupervisorError(
                "not-found",
                f"there is no living run or content {ref!r}",
                hint="`supervisor ps` shows what runs.",
            )
        return worker


async def _copy(
    worker: Worker, tail: int, follow: bool, send: trio.MemorySendChannel[LogLine]
) -> None:
    """Send a worker's last lines, then (follow) those to come, into a channel that it closes."""
    async with send:
        lines = worker.output.subscribe()
        for line in list(worker.output.tail)[-tail:] if tail else []:
            await send.send(line)
        if follow and worker.state not in (State.EXITED, State.FAILED, State.LOST):
            async for line in lines:
                await send.send(line)
        lines.close()
