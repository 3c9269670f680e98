"""What the journal writes: entries that wait in a queue, and the thread's part of writing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeGuard

import attrs
import trio

from supervisor.core.storage.spill import Spill, must_not_be_lost
from supervisor.errors import LeaseLost, StoreUnavailable, SupervisorError
from supervisor.interfaces import Change, Store
from supervisor.log import Log
from supervisor.model import Lease, Transition

CHUNK = 500  # spilled changes in one transaction


@attrs.define(eq=False)
class Entry:
    """What is written together: an intent, for whom somebody waits, or one fact."""

    changes: tuple[Change, ...]
    done: trio.Event | None = None
    outcome: Exception | None = None
    withdrawn: bool = False

    @property
    def is_fact(self) -> bool:
        return self.done is None

    async def wait(self) -> None:
        """Wait for an intent's outcome; cancelled before it was taken, it is not written."""
        assert self.done is not None
        try:
            await self.done.wait()
        finally:
            self.withdrawn = not self.done.is_set()
        if self.outcome is not None:
            raise self.outcome

    def settled(self) -> None:
        """Wake who waits."""
        if self.done is not None:
            self.done.set()


class Queue:
    """The entries that wait, in order; of the facts about one record only the newest."""

    def __init__(self) -> None:
        self._waiting: list[Entry] = []
        self._newest: dict[object, Entry] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entry: Entry) -> None:
        """Put an entry at the end."""
        entry.outcome = None
        self._waiting.append(entry)
        for change in entry.changes:
            # the fact before an intent stays before it, whatever comes later
            older = self._newest.pop(_key(change), None)
            if entry.is_fact:
                if older is not None:
                    older.withdrawn = True
                self._newest[_key(change)] = entry

    def take(self) -> list[Entry]:
        """Take everything out."""
        taken = [entry for entry in self._waiting if not entry.withdrawn]
        self._waiting, self._newest = [], {}
        return taken

    def put_back(self, entries: Sequence[Entry]) -> None:
        """Put entries that were taken before all that came since."""
        since = self.take()
        for entry in (*entries, *since):
            self.add(entry)

    def take_what_must_not_be_lost(self) -> list[Entry]:
        """Take out transitions and the ends of runs, and drop what is older about those runs."""
        taken = [
            entry
            for entry in self._waiting
            if entry.is_fact and not entry.withdrawn and must_not_be_lost(entry.changes[0])
        ]
        keys = {_key(entry.changes[0]) for entry in taken}
        for entry in self._waiting:
            if entry.is_fact and _key(entry.changes[0]) in keys:
                entry.withdrawn = True
        self.put_back(())
        for entry in taken:
            entry.withdrawn = False
        return taken

    def refuse_intents(self, reason: SupervisorError) -> None:
        """Let every intent that waits fail."""
        for entry in self._waiting:
            if not entry.is_fact:
                entry.outcome = reason
                entry.withdrawn = True
                entry.settled()


class Writer:
    """The blocking part: write spilled changes and a batch. One call at a time, in a thread."""

    def __init__(self, store: Store, spill: Spill, log: Log) -> None:
        self._store = store
        self._spill = spill
        self._log = log

    def write(
        self, batch: Sequence[Entry], fence: Lease
    ) -> tuple[Sequence[Entry], SupervisorError | None]:
        """Set the outcome of each entry; the spilled come first.

        Gives the spilled entries that are in the store now, and the error that ended all early.
        """
        replayed, error = self._replay(fence)
        if error is None:
            error = self._apply_all(batch, fence)
        else:
            for entry in batch:
                entry.outcome = error
        return replayed, error

    def _replay(self, fence: Lease) -> tuple[Sequence[Entry], SupervisorError | None]:
        replayed: list[Entry] = []
        for path in self._spill.files():
            try:
                changes = self._spill.read(path, self._log)
            except OSError as problem:
                self._log.error("spill-unreadable", exc=problem, file=path.name)
                continue
            entries = [Entry((change,)) for change in changes]
            for start in range(0, len(entries), CHUNK):
                chunk = entries[start : start + CHUNK]
                error = self._apply_all(chunk, fence)
                if error is not None:
                    return replayed, error
                replayed += chunk
            self._spill.remove(path)
            self._log.info("spill-replayed", file=path.name, changes=len(entries))
        return replayed, None

    def _apply_all(self, batch: Sequence[Entry], fence: Lease) -> SupervisorError | None:
        outcome = self._apply([change for entry in batch for change in entry.changes], fence)
        if outcome is None or _ends_all(outcome, fence) or len(batch) == 1:
            for entry in batch:
                entry.outcome = outcome
            return outcome if _ends_all(outcome, fence) else None
        ended: SupervisorError | None = None
        for entry in batch:  # one of them is at fault: let only that one fail
            outcome = ended or self._apply(entry.changes, fence)
            entry.outcome = outcome
            if _ends_all(outcome, fence):
                ended = outcome
        return ended

    def _apply(self, changes: Sequence[Change], fence: Lease) -> Exception | None:
        if not changes:
            return None
        try:
            self._store.apply(changes, fence)
        except Exception as error:
            return error
        return None


def _ends_all(outcome: Exception | None, fence: Lease) -> TypeGuard[SupervisorError]:
    if isinstance(outcome, LeaseLost):
        return outcome.lease == fence.name  # else it is the lease of one content
    return isinstance(outcome, StoreUnavailable)


def _key(change: Change) -> object:
    if isinstance(change.record, Transition):
        return change.record
    return change.kind, change.record.id
