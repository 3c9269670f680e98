"""A clock for whole days: whenever nobody can go on, it is the next moment that somebody waits for.

trio's MockClock does the same in two rounds of the scheduler and a count of all that waits; with a
hundred thousand jumps that is a fifth of a simulated day.
"""

from __future__ import annotations

import select

import trio


class DayClock(trio.abc.Clock):
    """Jumps to the next deadline as soon as no task can run and nothing has come in."""

    def __init__(self) -> None:
        self._now = 0.0
        self._pending: select.poll | None = None

    def start_clock(self) -> None:
        pass

    def current_time(self) -> float:
        return self._now

    def deadline_to_sleep_time(self, deadline: float) -> float:
        """Jump there, or stay where something has come in."""
        if deadline <= self._now:
            return 0.0
        if deadline == float("inf"):
            return deadline
        if self._pending is None:
            self._pending = select.poll()
            io = trio._core._run.GLOBAL_RUN_CONTEXT.runner.io_manager
            self._pending.register(io._epoll.fileno(), select.POLLIN)
        if not self._pending.poll(0):
            self._now = deadline
        return 0.0
