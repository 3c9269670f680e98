"""The feed: what anybody has changed in the store, told on the loop as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from supervisor.core.storage.journal import Journal
from supervisor.errors import StoreUnavailable
from supervisor.interfaces import StoreEvent
from supervisor.listener import Listener
from supervisor.log import Log

GATHER = 0.05  # seconds for changes that come together to be told together
POLL = 1.0  # seconds from one look to the next where nothing wakes us
PATROL = 30.0  # seconds after which we look though nothing has woken us


class Feed:
    """Tell `told` of changes, in the order of the store, from the start of run() on.

    told must not block. Our own changes are told too. While the store is away nothing is told;
    afterwards what was missed is, as far back as the store remembers.
    """

    def __init__(
        self, journal: Journal, told: Callable[[Sequence[StoreEvent]], None], *, log: Log
    ) -> None:
        self._journal = journal
        self._told = told
        self._log = log
        self._cursor = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell until cancelled. Raises StoreUnavailable where the store is away at the start."""
        self._cursor, _ = await self._journal.changes(0)
        task_status.started()
        while True:
            try:
                listener = await self._journal.listen()
                if listener is None:
                    await self._look()
                else:
                    await self._follow(listener)
            except StoreUnavailable as error:
                self._log.warning("feed-interrupted", reason=error.message)
            await trio.sleep(POLL)

    async def _follow(self, listener: Listener) -> None:
        """Look whenever the listener wakes us; raises StoreUnavailable when it is lost."""
        try:
            while True:
                await self._look()  # first of all: it does not tell of what came before it
                with trio.move_on_after(PATROL):
                    await trio.lowlevel.wait_readable(listener)
                await trio.sleep(GATHER)
                listener.clear()
        finally:
            listener.close()

    async def _look(self) -> None:
        self._cursor, events = await self._journal.changes(self._cursor)
        if events:
            self._told(events)
