"""Retention and clean-up, in one place: look for what is not needed any more, and remove it.

A bundle's record says that it is going before its file goes, and is removed last; of everything
else the files go first. So a core that is killed in between leaves what the next sweep finds.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import TypeVarTuple, Unpack

import attrs
import trio

from supervisor import layout
from supervisor.core import retention
from supervisor.core.retention import Going, Held, Retention
from supervisor.core.runs.placing import deployment_place
from supervisor.core.scheduling.registry import Registry
from supervisor.core.storage.claims import Claims
from supervisor.core.storage.journal import Journal
from supervisor.core.upkeep.removal import remove_archive
from supervisor.errors import StoreUnavailable, SupervisorError
from supervisor.interfaces import Change, Executor
from supervisor.lifecycle import advance_bundle
from supervisor.log import Log
from supervisor.model import (
    Bundle,
    BundleState,
    Content,
    ContentId,
    PlaceKind,
    PlaceRef,
    Task,
)

Ts = TypeVarTuple("Ts")

AT_ONCE = 500  # records that one transaction removes
FRESH = 600.0  # seconds in which a file may still wait for its record
LEFT = 2 * 86400.0  # seconds after which nothing lives on of a run that was given up as lost


@attrs.define(eq=False, kw_only=True)
class Sweep:
    """Look for what is not needed, and remove it. Used by one task at a time.

    executor gives who removes what content wrote; turn the lock under which a content's bundles
    are deployed; clock: wall-clock seconds.
    """

    journal: Journal
    registry: Registry
    claims: Claims
    executor: Callable[[], Executor]
    turn: Callable[[ContentId], trio.Lock]
    data_dir: str
    keep: Retention
    log: Log
    clock: Callable[[], float] = time.time

    @asynccontextmanager
    async def holding(self) -> AsyncIterator[None]:
        """Claim the removed contents that nobody has, and give those back at the end."""
        stored = await self.journal.find("content")
        mine = self.claims.contents
        free = [c.id for c in stored if c.removed is not None and c.id not in mine]
        removed = await self.claims.claim(free)
        try:
            yield
        finally:
            with suppress(StoreUnavailable):  # then they expire
                await self.claims.give_back(removed)

    async def look(self) -> list[Going]:
        """Give what the contents that this node has claimed do not need. Changes nothing."""
        going: list[Going] = []
        ours = self.claims.contents
        for content in await self.journal.find("content"):
            if content.id not in ours:
                continue
            held = await self._held(content)
            records = [
                *retention.ended_runs(held, self.keep, self.clock()),
                *retention.finished_tasks(held, self.keep, self.clock()),
            ]
            forgotten = {each.name for each in records if each.kind == "run"}
            going += records
            going += [each async for each in self._bundles(held)]
            going += await _all_of(self._places, held)
            living = {str(run) for run in held.living}
            known = {str(run.id) for run in held.runs} - forgotten
            going += await _all_of(self._logs, held.content, known | living, living)
        digests = {bundle.digest for bundle in await self.journal.find("bundle")}
        going += await _all_of(self._nobodys_files, digests)
        going += [each async for each in self._scratch()]
        return going

    async def clear(self, going: Sequence[Going]) -> list[Going]:
        """Remove what `look` gave, one after the other; give what went.

        What cannot be removed now, or is needed by now, stays; the log says why.
        """
        gone: list[Going] = []
        records: list[Going] = []
        for each in going:
            if each.mark is None and not each.places and not each.paths:
                records.append(each)
                continue
            try:
                await self._remove(each)
            except (SupervisorError, OSError) as error:
                self.log.warning("not-removed", kind=each.kind, name=each.name, reason=str(error))
            else:
                gone.append(each)
        for start in range(0, len(records), AT_ONCE):
            part = records[start : start + AT_ONCE]
            try:
                await self.journal.intent(*(change for each in part for change in each.forget))
            except SupervisorError as error:
                self.log.warning("not-removed", records=len(part), reason=str(error))
            else:
                gone += part
        return gone

    async def _remove(self, each: Going) -> None:
        if each.kind != "bundle" or each.content is None:
            await self._remove_now(each)
            return
        async with self.turn(each.content):
            if int(each.name) in await self._deploying(each.content):
                raise SupervisorError("conflict", "it is being deployed")
            await self._remove_now(each)

    async def _remove_now(self, each: Going) -> None:
        if each.mark is not None:
            await self.journal.intent(each.mark)
        for place in each.places:
            await self.executor().remove(place)
        for path in each.paths:
            if not await self._is_recorded(path, each.forget):
                await trio.to_thread.run_sync(_remove_path, path)
        if each.forget:
            await self.journal.intent(*each.forget)

    async def _is_recorded(self, path: str, but: Sequence[Change]) -> bool:
        """Whether a bundle has a path by now, other than those that go."""
        if not (digest := _digest(path)):
            return False
        going = {change.record.id for change in but if isinstance(change.record, Bundle)}
        found = await self.journal.find("bundle", {"digest": digest})
        return any(bundle.id not in going for bundle in found)

    # -- looking ------------------------------------------------------------------------------

    async def _held(self, content: Content) -> Held:
        where = {"content": content.id}
        keeper = self.registry.numbered(content.id)
        tasks: Sequence[Task] = await self.journal.find("task", where)
        content = await self.journal.get("content", content.id) or content  # as it is after them
        told = [content]
        if keeper is not None:
            told.append(keeper.content)  # either may be newer: an answer of the store may be lost
            content = attrs.evolve(max(told, key=lambda each: each.version), removed=None)
        at_work = [task for task in tasks if not task.finished]
        runs = await self.journal.find("run", where)
        workers = [w for w in self.registry.workers.values() if w.tracked.run.content == content.id]
        opened = [run for run in runs if run.ended is None]
        used = {worker.deployment for worker in workers}
        used |= {run.deployment for run in opened if run.deployment is not None}
        used |= {task.deployment for task in at_work if task.deployment is not None}
        if keeper is not None:
            used |= set(keeper.known)
            used |= {each.active_deployment for each in told if each.active_deployment is not None}
            used |= {keeper.deployment.id} if keeper.deployment is not None else set()
        return Held(
            content=content,
            runs=runs,
            tasks=tasks,
            bundles=await self.journal.find("bundle", where),
            deployments=await self.journal.find("deployment", where),
            living={*(worker.id for worker in workers), *(run.id for run in opened)},
            used_deployments=used,
            used_bundles={task.bundle for task in at_work if task.bundle is not None},
        )

    async def _deploying(self, content: ContentId) -> set[int]:
        tasks = await self.journal.find("task", {"content": content, "finished": False})
        return {task.bundle for task in tasks if task.bundle is not None}

    async def _bundles(self, held: Held) -> AsyncIterator[Going]:
        for bundle, reason in retention.old_bundles(held, self.keep, self.clock()):
            others = await self.journal.find("bundle", {"digest": bundle.digest})
            shared = any(other.id != bundle.id for other in others)
            mark, marked = None, bundle
            if not bundle.is_going:
                state = BundleState(advance_bundle(bundle.state.value, "swept"))
                marked = attrs.evolve(bundle, state=state, version=bundle.version + 1)
                mark = Change(kind="bundle", record=marked, was=bundle.version)
            made = [d for d in held.deployments if d.bundle == bundle.id]
            forget = [Change(kind="deployment", record=d, remove=True) for d in made]
            forget.append(Change(kind="bundle", record=marked, was=marked.version, remove=True))
            path = os.path.join(self.data_dir, "bundles", f"{bundle.digest}.tar.gz")
            yield Going(
                kind="bundle",
                name=str(bundle.id),
                content=held.content.id,
                size=0 if shared else bundle.size,
                reason=reason,
                mark=mark,
                places=tuple(deployment_place(held.content, d) for d in made),
                paths=() if shared else (path,),
                forget=tuple(forget),
            )

    async def _scratch(self) -> AsyncIterator[Going]:
        """What runs of nodes that never came back have left; a living node removes its own.

        A node that has lost only the database runs on what was given up as lost: hence so late.
        """
        folder = os.path.join(self.data_dir, "tmp")
        for name in await trio.to_thread.run_sync(lambda: list(_old_runs(folder))):
            run = await self.journal.get("run", name)
            if run is None or (run.ended is not None and self.clock() - run.ended > LEFT):
                yield Going(
                    kind="scratch",
                    name=name,
                    content=None if run is None else run.content,
                    size=None,
                    reason="its run ended long ago",
                    places=(PlaceRef(kind=PlaceKind.SCRATCH, components=(name,)),),
                )

    def _places(self, held: Held) -> Iterator[Going]:
        """Directories that a crash or an executor that was away has left. In a thread."""
        given = {d.id for d in held.deployments}
        given |= {t.deployment for t in held.tasks if t.deployment is not None}
        for number in sorted(given):
            if not held.is_needed(number):
                yield from self._place(held, deployment_place(held.content, number), "deployment")
        if held.removed:
            state = PlaceRef(kind=PlaceKind.STATE, ids=(held.content.id,))
            yield from self._place(held, state, "state")

    def _place(self, held: Held, place: PlaceRef, kind: str) -> Iterator[Going]:
        parts = layout.components(place)
        path = os.path.join(self.data_dir, *parts)
        if os.path.isdir(path):
            yield Going(
                kind=kind,
                name="/".join(parts[1:]),
                content=held.content.id,
                size=_size(path),
                reason="its content was removed" if held.removed else "not active, and left over",
                places=(place,),
            )

    def _logs(self, content: Content, known: set[str], living: set[str]) -> Iterator[Going]:
        """Logs of runs that are forgotten, or that are too many. In a thread."""
        folder = os.path.join(self.data_dir, *layout.log_components(content.id, "")[:2])
        names = sorted(_names(folder))
        few = names[-self.keep.logs :] if self.keep.logs else names
        for name in names:
            forgotten = name not in known and not _is_fresh(os.path.join(folder, name))
            if name in living or not (forgotten or name not in few or content.removed):
                continue
            yield Going(
                kind="log",
                name=name,
                content=content.id,
                size=_size(os.path.join(folder, name)),
                reason="its run is forgotten" if forgotten else "not of the newest runs",
                paths=(os.path.join(folder, name),),
            )

    def _nobodys_files(self, known: set[str]) -> Iterator[Going]:
        """Uploads that broke off, and archives that nobody recorded. In a thread."""
        for folder in ("uploads", "bundles"):
            for name in _names(os.path.join(self.data_dir, folder)):
                path = os.path.join(self.data_dir, folder, name)
                recorded = folder == "bundles" and name.removesuffix(".tar.gz") in known
                age = self.keep.upload_age if folder == "uploads" else FRESH
                if not recorded and not _is_fresh(path, max(age, FRESH)):
                    why = "broke off" if folder == "uploads" else "nobody recorded it"
                    yield Going(
                        kind=folder[:-1], name=name, size=_size(path), reason=why, paths=(path,)
                    )


async def _all_of(look: Callable[[Unpack[Ts]], Iterator[Going]], *args: *Ts) -> list[Going]:
    return await trio.to_thread.run_sync(lambda: list(look(*args)))


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _old_runs(folder: str) -> Iterator[str]:
    for name in _names(folder):
        if name.isalnum() and not _is_fresh(os.path.join(folder, name), LEFT):
            yield name


def _is_fresh(path: str, seconds: float = FRESH) -> bool:
    """Whether a file was written just now: its record may be on its way."""
    try:
        return time.time() - os.lstat(path).st_mtime < seconds
    except OSError:
        return True


def _size(path: str) -> int | None:
    """Give the bytes beneath a path; None where we may not look."""

    def refuse(error: OSError) -> None:
        raise error

    try:
        found = os.lstat(path).st_size
        if not os.path.isdir(path):
            return found
        for folder, folders, files in os.walk(path, onerror=refuse):
            for name in (*folders, *files):
                with suppress(FileNotFoundError):
                    found += os.lstat(os.path.join(folder, name)).st_size
    except FileNotFoundError:
        return 0
    except OSError:
        return None
    return found


def _remove_path(path: str) -> None:
    """Remove a file or a tree of the core's. A bundle that was uploaded anew meanwhile stays."""
    if os.path.isdir(path):
        shutil.rmtree(path)
    elif _digest(path):
        remove_archive(path, time.time() - FRESH)
    else:
        with suppress(FileNotFoundError):
            os.unlink(path)


def _digest(path: str) -> str:
    """Give which bundle a path is the archive of; "" if it is something else."""
    folder, name = os.path.split(path)
    return name.removesuffix(".tar.gz") if os.path.basename(folder) == "bundles" else ""
