"""A journal without threads, so that a mock clock does not run ahead while one works."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, TypeVarTuple, Unpack

import trio

from supervisor.core.storage.journal import Journal
from supervisor.errors import StoreUnavailable
from supervisor.interfaces import Change, Row
from supervisor.model import Lease, Run, Transition
from supervisor.testing.fakes import MemoryStore

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class DirectJournal(Journal):
    """A real journal that calls its store here, where the real one uses a thread."""

    async def _call(self, method: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
        await trio.lowlevel.checkpoint()
        return method(*args)


class MemoryJournal(DirectJournal):
    """Write to a MemoryStore at once.

    written: every change in the order of the calls. away: intents fail, facts wait. slow: seconds
    that an intent takes. facts_wait: facts reach the store with the next intent or flush only, so
    that a test sees the difference between a fact and what is durable.
    """

    def __init__(
        self, store: MemoryStore | None = None, *, slow: float = 0.0, facts_wait: bool = False
    ) -> None:
        self.store = store or MemoryStore()
        super().__init__(
            self.store,
            Lease(name="data-dir", owner="test", fence=1, expires=0.0),
            run_dir="/nonexistent",
        )
        self.slow = slow
        self.facts_wait = facts_wait
        self.away = False
        self.written: list[Change] = []
        self._facts: list[Change] = []

    async def intent(self, *changes: Change) -> None:
        await trio.sleep(self.slow / 2)
        if self.away:
            raise StoreUnavailable("the store is away")
        self._write_facts()
        self.store.apply(changes)
        self.written += changes
        await trio.sleep(self.slow / 2)  # cancelled here, it was written and nobody is told

    def fact(self, *changes: Change) -> None:
        self.written += changes
        self._facts += changes
        if not self.facts_wait and not self.away:
            self._write_facts()

    def _write_facts(self) -> None:
        if self._facts:
            self.store.apply(self._facts)
            self._facts = []

    async def flush(self, seconds: float) -> bool:
        await trio.lowlevel.checkpoint()
        if not self.away:
            self._write_facts()
        return not self.away

    async def dump(self, take: Callable[[Row], object]) -> None:
        await trio.lowlevel.checkpoint()
        for row in self.store.dump():
            take(row)

    def story(self, run: str) -> list[str]:
        """Give the states that a run was moved to, in order."""
        moves = [change.record for change in self.written if change.kind == "transition"]
        return [move.now for move in moves if isinstance(move, Transition) and move.run == run]

    def last(self, run: str) -> Run:
        """Give the newest record of a run, waiting or written."""
        records = [c.record for c in self.written if isinstance(c.record, Run)]
        return next(record for record in reversed(records) if record.id == run)
