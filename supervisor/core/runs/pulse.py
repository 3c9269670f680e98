"""Whether a process answers at once, or computes: R and most Python apps do one thing at a time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

PULSE = 0.03  # seconds in which a process answers that does not compute
FRESH = 0.5  # seconds for which its last answer counts


@attrs.define(eq=False)
class Pulse:
    """What is known of it. `changed` is called whenever `busy` does."""

    changed: Callable[[], None]
    busy: bool = False
    _answered_at: float = float("-inf")
    _asking: trio.Event | None = None

    @property
    def known(self) -> bool:
        """Whether it has answered just now, or is known to compute."""
        return self.busy or trio.current_time() - self._answered_at < FRESH

    async def look(self, ask: Callable[[], Awaitable[None]], nursery: trio.Nursery) -> None:
        """Find out within PULSE; the question stays open in `nursery` until it is answered."""
        asking = self._asking
        if asking is None:
            asking = self._asking = trio.Event()
            nursery.start_soon(self._ask, ask, asking)
        with trio.move_on_after(PULSE) as limit:
            await asking.wait()
        if limit.cancelled_caught:
            self._is(busy=True)

    async def _ask(self, ask: Callable[[], Awaitable[None]], asking: trio.Event) -> None:
        await ask()
        self._asking, self._answered_at = None, trio.current_time()
        asking.set()
        self._is(busy=False)

    def _is(self, *, busy: bool) -> None:
        if busy != self.busy:
            self.busy = busy
            self.changed()
