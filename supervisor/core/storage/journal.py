"""The journal: the only writer to the store.

Intents are durable before the act; facts tell what has happened, coalesce while they wait and
never hold anybody up. One call in a thread at a time writes everything that waits, in order: two
hundred intents cost about as much as one.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple, Unpack

import attrs
import trio

from supervisor.core.storage import lease as leases
from supervisor.core.storage.batch import Entry, Queue, Writer
from supervisor.core.storage.spill import Spill
from supervisor.errors import LeaseLost, StoreUnavailable, SupervisorError
from supervisor.interfaces import Change, Row, Store, StoreEvent
from supervisor.listener import Listener
from supervisor.log import Log
from supervisor.model import Content, ContentId, Lease, Node

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0


class Journal:
    """Write and read the records of the store from trio.

    lease is the fence of every write, renewed for `ttl` seconds. told is called on the loop with
    the changes of each entry once they are durable; it must not block. fence_of, once set, gives
    the lease under which changes about a content are made, and doubted is called when one of those
    was stale. wrote is told how long each write took, and whether it found the store away.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        *,
        run_dir: str | Path,
        ttl: float = leases.TTL,
        log: Log | None = None,
        told: Callable[[Sequence[Change]], None] = lambda _: None,
        wrote: Callable[[float, bool], None] = lambda seconds, failed: None,
    ) -> None:
        self.lease = lease
        self.ttl = ttl
        self.fence_of: Callable[[ContentId], Lease] | None = None
        self.doubted: Callable[[], None] = lambda: None
        self._store = store
        self._log = log or Log("core")
        self._told = told
        self._wrote = wrote
        self._queue = Queue()
        self._spill = Spill(run_dir)
        self._writer = Writer(store, self._spill, self._log)
        self._one_call = trio.CapacityLimiter(1)
        self._wake = trio.Event()
        self._hurry = trio.Event()
        self._closed: SupervisorError | None = None

    @property
    def waiting(self) -> int:
        """How many changes wait to be written."""
        return len(self._queue)

    @property
    def spilled(self) -> int:
        """How many files of facts wait in RunDir for the store."""
        return len(self._spill.files())

    # Writing

    async def intent(self, *changes: Change) -> None:
        """Write the changes in one transaction and return when they are durable.

        Raises StoreConflict where a `was` does not hold, StoreUnavailable where the next attempt
        finds the store away (within seconds), LeaseLost where another server has taken over what
        it is about; then nothing was written. Cancelled: it may have been written or not.
        """
        if self._closed is not None:
            raise self._closed
        entry = Entry(self._fenced(changes), done=trio.Event())
        self._queue.add(entry)
        self._wake.set()
        await entry.wait()

    def fact(self, *changes: Change) -> None:
        """Record what has happened. Never blocks, never raises.

        Of several facts about one record that wait, the newest is written. While the store is away
        transitions and the ends of runs are kept in RunDir; the rest is written if this core sees
        the store again.
        """
        for change in self._fenced(changes):
            self._queue.add(Entry((change,)))
        self._wake.set()
        if self._closed is not None:
            self._spill_facts()

    def _fenced(self, changes: Sequence[Change]) -> tuple[Change, ...]:
        """Put the fences of contents to the changes: those that hold now, when they are made."""
        if self.fence_of is None:
            return tuple(changes)
        return tuple(
            change if content is None else attrs.evolve(change, fence=self.fence_of(content))
            for change in changes
            for content in [_content_of(change)]
        )

    async def flush(self, seconds: float) -> bool:
        """Wait until everything before this call is in the store, at most so many seconds."""
        self._hurry.set()
        with trio.move_on_after(seconds):
            while self._closed is None:
                try:
                    await self.intent()
                    return True
                except StoreUnavailable:
                    continue
        return False

    # Reading

    async def get(self, kind: str, key: str | int) -> Any:
        """Give a record or None, as Store.get does. Facts that still wait are not seen."""
        return await self._call(self._store.get, kind, key)

    async def find(
        self,
        kind: str,
        where: Mapping[str, Any] | None = None,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Sequence[Any]:
        """Give records, as Store.find does. Facts that still wait are not seen."""
        return await self._call(
            lambda: self._store.find(kind, where, newest_first=newest_first, limit=limit)
        )

    async def next_id(self, kind: str) -> int:
        """Give an id that was never given before, as Store.next_id does."""
        return await self._call(self._store.next_id, kind)

    async def changes(self, since: int) -> tuple[int, Sequence[StoreEvent]]:
        """Give what changed after a cursor, and a new one, as Store.changes does."""
        return await self._call(self._store.changes, since)

    async def listen(self) -> Listener | None:
        """Give what wakes after each change, or None, as Store.listen does."""
        return await self._call(self._store.listen)

    async def dump(self, take: Callable[[Row], object]) -> None:
        """Give `take`, in a thread, all that must survive, as it is at one moment.

        Facts that still wait are not seen: flush first. Writing goes on meanwhile.
        """

        def give() -> None:
            for row in self._store.dump():
                take(row)

        await trio.to_thread.run_sync(give)

    # Leases

    async def claim(self, names: Sequence[str], owner: str, ttl: float) -> Sequence[Lease]:
        """Claim or renew leases, as Store.claim_all does."""
        return await self._call(self._store.claim_all, names, owner, ttl)

    async def release(self, leases: Sequence[Lease]) -> None:
        """Give leases back, as Store.release_all does."""
        await self._call(self._store.release_all, leases)

    async def leases(self) -> tuple[float, Sequence[Lease]]:
        """Give the database's clock and every lease, as Store.leases does."""
        return await self._call(self._store.leases)

    async def _call(self, method: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        # never abandoned: a thread that is left behind would still hold a connection
        return await trio.to_thread.run_sync(method, *args, limiter=self._one_call)

    # The tasks

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write until cancelled; first what an earlier core has spilled.

        Raises lease-lost when another server holds the lease: this one must stop then. In the end
        what must not be lost and could not be written is spilled for the next core.
        """
        lost: SupervisorError | None = None
        try:
            async with trio.open_nursery() as nursery:

                async def until_lost(part: Callable[[], Awaitable[SupervisorError]]) -> None:
                    nonlocal lost
                    lost = await part()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_lost, self._renew)
                nursery.start_soon(until_lost, self._write)
                task_status.started()
        finally:
            self._closed = lost or StoreUnavailable("the server is stopping")
            self._queue.refuse_intents(self._closed)
            self._spill_facts()
        if lost is not None:
            raise lost

    async def _renew(self) -> SupervisorError:
        """Renew the lease until it is lost; give the error that says so."""
        while True:
            await trio.sleep(leases.renew_each(self.ttl))
            held = self.lease
            try:
                renewed = await self._call(self._store.claim, held.name, held.owner, self.ttl)
            except StoreUnavailable as error:
                self._log.warning("lease-not-renewed", reason=error.message)
                continue
            if renewed is None or renewed.fence != held.fence:
                return LeaseLost(held.name, "another core has taken over this node")
            self.lease = renewed

    async def _write(self) -> SupervisorError:
        """Write what waits, again and again, until the lease is lost; give the error."""
        failures = 0
        self._wake.set()  # an earlier core may have spilled
        while True:
            await self._wake.wait()
            self._wake = trio.Event()
            error = await self._write_what_waits()
            if error is None:
                failures = 0
                continue
            if isinstance(error, LeaseLost):
                return error
            self._log.warning("store-unavailable", reason=error.message, failures=failures)
            await self._pause(failures)
            failures += 1
            self._wake.set()

    async def _write_what_waits(self) -> SupervisorError | None:
        """Try once; give what ended the attempt early, or None."""
        batch, begun = self._queue.take(), trio.current_time()
        try:
            replayed, error = await self._call(self._writer.write, batch, self.lease)
        except BaseException:
            self._queue.put_back(batch)
            raise
        self._wrote(trio.current_time() - begun, error is not None)
        for entry in (*replayed, *batch):
            self._settle(entry, stopped=error)
        if error is not None:
            self._queue.put_back([e for e in batch if e.is_fact and e.outcome is error])
            self._spill_facts()
        return error

    def _settle(self, entry: Entry, *, stopped: SupervisorError | None) -> None:
        if entry.outcome is None:
            try:
                self._told(entry.changes)
            except Exception as error:
                self._log.error("journal-observer-failed", exc=error)
        elif isinstance(entry.outcome, LeaseLost) and entry.outcome is not stopped:
            self._log.info("write-refused", lease=entry.outcome.lease)
            self.doubted()
        elif entry.is_fact and entry.outcome is not stopped:
            self._log.error("fact-refused", exc=entry.outcome, change=entry.changes)
        entry.settled()

    def _spill_facts(self) -> None:
        entries = self._queue.take_what_must_not_be_lost()
        try:
            self._spill.append([change for entry in entries for change in entry.changes])
        except OSError as error:
            self._log.error("spill-failed", exc=error, facts=len(entries))
            self._queue.put_back(entries)

    async def _pause(self, failures: int) -> None:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures, 10))
        self._hurry = trio.Event()
        with trio.move_on_after(longest * random.uniform(0.5, 1.0)):
            await self._hurry.wait()


def _content_of(change: Change) -> ContentId | None:
    """Give the content that a change is about."""
    record = change.record
    if isinstance(record, Node):
        return None
    return record.id if isinstance(record, Content) else record.content
