"""Stores in memory, for the core's tests: one that behaves, and others named by how they do not."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import attrs

from supervisor.errors import LeaseLost, StoreConflict, StoreUnavailable, SupervisorError
from supervisor.interfaces import KINDS, Change, Counter, Record, Row, Store, StoreEvent
from supervisor.listener import Listener
from supervisor.model import Lease, Transition

INDEXED: Mapping[str, frozenset[str]] = {
    "content": frozenset({"id", "guid", "name", "removed"}),
    "bundle": frozenset({"id", "content", "digest", "state"}),
    "deployment": frozenset({"id", "content", "bundle"}),
    "run": frozenset({"id", "content", "deployment", "purpose", "state", "node"}),
    "task": frozenset({"id", "content", "finished"}),
    "node": frozenset({"id"}),
    "transition": frozenset({"run", "content"}),
}


class MemoryStore(Store):
    """A store that keeps its records in this object. Behaves as the contract says.

    clock: the database's clock, in seconds. batches: the changes of each apply that succeeded.
    is_older: whether `migrate` has something to change.
    """

    name = "memory"
    several_nodes = True

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.is_older = False
        self.batches: list[tuple[Change, ...]] = []
        self.transitions: list[Transition] = []
        self._records: dict[str, dict[str | int, Record]] = {kind: {} for kind in INDEXED}
        self._counters: dict[str, int] = {}
        self._leases: dict[str, Lease] = {}
        self._events: list[StoreEvent] = []
        self._listeners: list[MemoryListener] = []
        self._lock = threading.RLock()

    def again(self) -> Self:
        """Give one more store on the same records, as a new core would open it."""
        other = type(self).__new__(type(self))
        other.__dict__ = self.__dict__
        return other

    def enter(self, method: str) -> None:
        """Come by before each call does anything; misbehaving stores wait or raise here."""

    def migrate(self, permit: Callable[[float, Sequence[Lease]], None] | None = None) -> None:
        self.enter("migrate")
        with self._lock:
            if self.is_older and permit is not None:
                permit(*self.leases())
            self.is_older = False

    def next_id(self, kind: str) -> int:
        self.enter("next_id")
        with self._lock:
            self._counters[kind] = self._counters.get(kind, 0) + 1
            return self._counters[kind]

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        self.enter("apply")
        with self._lock:
            for each in (fence, *(change.fence for change in changes)):
                self._check(each)
            records = {kind: dict(held) for kind, held in self._records.items()}
            transitions = list(self.transitions)
            for change in changes:
                if change.remove:
                    _take_out(records[change.kind], change)
                    if change.kind == "run":
                        gone = getattr(change.record, "id", "")
                        transitions = [each for each in transitions if each.run != gone]
                elif isinstance(change.record, Transition):
                    if change.record not in transitions:
                        transitions.append(change.record)
                else:
                    _put(records[change.kind], change, change.record)
            self._records, self.transitions = records, transitions
            self._events += [
                StoreEvent(kind=change.kind, key=str(change.record.id))
                for change in changes
                if not isinstance(change.record, Transition)
            ]
            self.batches.append(tuple(changes))
            for listener in self._listeners:
                listener.wake()

    def get(self, kind: str, key: str | int) -> Record | None:
        self.enter("get")
        with self._lock:
            held = self._records[kind]
            if kind != "content" or isinstance(key, int):
                return held.get(key)
            by_guid = [record for record in held.values() if getattr(record, "guid", "") == key]
            return by_guid[0] if by_guid else _living(held).get(key)

    def find(
        self,
        kind: str,
        where: Mapping[str, Any] | None = None,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Sequence[Any]:
        self.enter("find")
        where = where or {}
        for field in where:
            if field not in INDEXED[kind]:
                raise ValueError(f"{kind} records are not indexed by {field!r}")
        with self._lock:
            held: list[Any] = list(self.transitions)
            if kind != "transition":
                held = sorted(
                    self._records[kind].values(),
                    # the ids of tasks alone do not tell which came first
                    key=lambda record: (record.created if kind == "task" else 0, record.id),
                )
        found = [record for record in held if _matches(record, where)]
        return (found[::-1] if newest_first else found)[:limit]

    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        self.enter("claim")
        with self._lock:
            now = self.clock()
            held = self._leases.get(name)
            fence = 1 if held is None else held.fence
            if held is not None and held.owner != owner:
                if held.owner and held.expires > now:
                    return None
                fence += 1
            self._leases[name] = Lease(name=name, owner=owner, fence=fence, expires=now + ttl)
            return self._leases[name]

    def claim_all(self, names: Sequence[str], owner: str, ttl: float) -> Sequence[Lease]:
        with self._lock:
            return super().claim_all(names, owner, ttl)

    def leases(self) -> tuple[float, Sequence[Lease]]:
        self.enter("leases")
        with self._lock:
            held = [lease for _, lease in sorted(self._leases.items()) if lease.owner]
            return self.clock(), held

    def holder(self, name: str) -> Lease | None:
        self.enter("holder")
        with self._lock:
            held = self._leases.get(name)
            return held if held is not None and held.owner else None

    def release(self, lease: Lease) -> None:
        self.enter("release")
        with self._lock:
            held = self._leases.get(lease.name)
            if held is not None and (held.owner, held.fence) == (lease.owner, lease.fence):
                self._leases[lease.name] = attrs.evolve(held, owner="", expires=0.0)

    def changes(self, since: int) -> tuple[int, Sequence[StoreEvent]]:
        self.enter("changes")
        with self._lock:
            return len(self._events), tuple(self._events[since:])

    def listen(self) -> MemoryListener:
        self.enter("listen")
        listener = MemoryListener()
        self._listeners.append(listener)
        return listener

    def dump(self) -> Iterator[Row]:
        self.enter("dump")
        with self._lock:
            rows: list[Row] = [
                Counter(kind=kind, last=last) for kind, last in sorted(self._counters.items())
            ]
            rows += [record for held in self._records.values() for record in held.values()]
            rows += self.transitions
        yield from rows

    def load(self, rows: Iterable[Row]) -> None:
        self.enter("load")
        with self._lock:
            if any(self._records.values()) or self._counters or self.transitions:
                raise SupervisorError("conflict", "the store is not empty")
            records: dict[str, dict[str | int, Record]] = {kind: {} for kind in INDEXED}
            counters: dict[str, int] = {}
            transitions: list[Transition] = []
            for row in rows:
                if isinstance(row, Counter):
                    counters[row.kind] = row.last
                elif isinstance(row, Transition):
                    transitions.append(row)
                else:
                    records[_kind_of(row)][row.id] = row
            self._records, self._counters, self.transitions = records, counters, transitions

    def close(self) -> None:
        self.enter("close")

    def _check(self, fence: Lease | None) -> None:
        if fence is None:
            return
        held = self._leases.get(fence.name)
        if held is None or (held.owner, held.fence) != (fence.owner, fence.fence):
            raise LeaseLost(fence.name)


class MemoryListener(Listener):
    """What a store in memory wakes; its connection is `lost` where a test says so."""

    def __init__(self) -> None:
        self.lost = False
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def wake(self) -> None:
        """Become readable, if it is still open."""
        if self._fd >= 0:
            os.eventfd_write(self._fd, 1)

    def fileno(self) -> int:
        return self._fd

    def clear(self) -> None:
        if self.lost:
            raise StoreUnavailable("the store has hung up")
        with suppress(BlockingIOError):
            os.eventfd_read(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class AwayStore(MemoryStore):
    """A store that does not answer while `away`; it counts the calls in `refused`."""

    def __init__(self, *, clock: Callable[[], float] = time.time, away: bool = True) -> None:
        super().__init__(clock=clock)
        self.away = away
        self.refused = 0

    def enter(self, method: str) -> None:
        if self.away:
            self.refused += 1
            raise StoreUnavailable("the store is away")


class StuckStore(MemoryStore):
    """A store whose apply waits until `go` is set; `entered` is set when one has begun."""

    def __init__(self, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock=clock)
        self.go = threading.Event()
        self.entered = threading.Event()

    def enter(self, method: str) -> None:
        if method == "apply":
            self.entered.set()
            if not self.go.wait(30):
                raise StoreUnavailable("the test never let the store go on")


def _put(held: dict[str | int, Record], change: Change, record: Record) -> None:
    old = held.get(record.id)
    version = 0 if old is None else getattr(old, "version", 1)
    if change.was is not None and change.was != version:
        raise StoreConflict(
            f"{change.kind} {record.id} has version {version}, expected {change.was}"
        )
    if change.kind == "content":
        twin = _living(held).get(getattr(record, "name", ""))
        if twin is not None and twin.id != record.id and getattr(record, "removed", 0) is None:
            raise StoreConflict(f"a content named {getattr(record, 'name', '')!r} exists already")
    held[record.id] = record


def _take_out(held: dict[str | int, Record], change: Change) -> None:
    if isinstance(change.record, Transition):
        raise ValueError("transitions go with their run")
    old = held.get(change.record.id)
    version = 0 if old is None else getattr(old, "version", 1)
    if change.was is not None and change.was != version:
        raise StoreConflict(f"{change.kind} {change.record.id} has version {version}")
    held.pop(change.record.id, None)


def _kind_of(row: object) -> str:
    for kind, type_ in KINDS.items():
        if isinstance(row, type_):
            return kind
    raise ValueError(f"{row!r} is of no known kind")


def _living(held: Mapping[str | int, Record]) -> dict[str | int, Record]:
    return {
        getattr(record, "name", ""): record
        for record in held.values()
        if getattr(record, "removed", 0) is None
    }


def _matches(record: Any, where: Mapping[str, Any]) -> bool:
    for field, wanted in where.items():
        value = getattr(record, field)
        if value not in wanted if isinstance(wanted, tuple | list | frozenset) else value != wanted:
            return False
    return True
