"""One epoll loop: watched descriptors, timers, and a coarse wheel of deadlines."""

from __future__ import annotations

import heapq
import itertools
import select
import socket
import time
from collections.abc import Callable
from typing import Protocol

from supervisor.log import Log

IN = select.EPOLLIN
OUT = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR

NEVER = 1 << 60
GONE_FOR_GOOD = -1  # as a deadline: the wheel lets go
_WHEEL = 60  # seconds that the wheel looks ahead; later deadlines are looked at again
_BATCH = 256


class Watcher(Protocol):
    """Whoever owns a watched descriptor."""

    def event(self, mask: int) -> None:
        """Deal with what epoll says; anything raised ends this watcher alone."""

    def crashed(self) -> None:
        """Let go of everything after `event` raised."""


class Timed(Protocol):
    """Whoever has a deadline in whole seconds of the loop's clock, NEVER for none."""

    deadline: int
    slot: int  # the wheel's own

    def overdue(self) -> None:
        """Deal with a deadline that has passed; set another one or let go."""

    def crashed(self) -> None:
        """Let go of everything after `overdue` raised."""


class Timer:
    """One call in the future; `cancel` makes it none."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], object]) -> None:
        self.call: Callable[[], object] | None = call

    def cancel(self) -> None:
        """Forget the call; doing so twice, or too late, is fine."""
        self.call = None


class Loop:
    """Wait for descriptors and time, and call back. No exception of a callback ends it."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.now = time.monotonic()
        self.wall = time.time()  # pins expire by it, in every gateway alike
        self._epoll = select.epoll()
        self._watched: dict[int, Watcher] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._wheel: dict[int, list[Timed]] = {}
        self._second = int(self.now)
        self._closing: list[socket.socket] = []
        self._running = True

    def watch(self, fd: int, mask: int, watcher: Watcher) -> None:
        """Begin to watch a descriptor."""
        self._watched[fd] = watcher
        self._epoll.register(fd, mask)

    def change(self, fd: int, mask: int) -> None:
        """Watch for something else."""
        self._epoll.modify(fd, mask)

    def unwatch(self, fd: int) -> None:
        """Stop watching; the descriptor stays open."""
        if self._watched.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def close(self, sock: socket.socket) -> None:
        """Stop watching a socket and close it once this batch of events is done.

        Not at once: its number would be given to the next connection, which would then be told
        of events that were meant for this one.
        """
        self.unwatch(sock.fileno())
        self._closing.append(sock)

    def later(self, seconds: float, call: Callable[[], object]) -> Timer:
        """Call once after that many seconds. For rare events; connections use the wheel."""
        timer = Timer(call)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._order), timer))
        return timer

    def within(self, timed: Timed, seconds: int) -> None:
        """Set a deadline: never early, up to a second late. Moving one costs next to nothing."""
        timed.deadline = int(self.now) + 1 + seconds
        if timed.deadline < timed.slot:
            self._enrol(timed)

    def _enrol(self, timed: Timed) -> None:
        timed.slot = max(min(timed.deadline, self._second + _WHEEL), self._second + 1)
        self._wheel.setdefault(timed.slot, []).append(timed)

    def stop(self) -> None:
        """End `run` after the events at hand."""
        self._running = False

    def run(self) -> None:
        """Loop until `stop`."""
        poll = self._epoll.poll
        watched = self._watched
        monotonic, wall = time.monotonic, time.time
        while self._running:
            events = poll(self._patience(), _BATCH)
            self.now = monotonic()
            self.wall = wall()
            for fd, mask in events:
                watcher = watched.get(fd)
                if watcher is None:
                    continue
                try:
                    watcher.event(mask)
                except Exception as error:
                    self.log.error("connection-crashed", exc=error)
                    self._guarded(watcher.crashed)
            if self._timers and self._timers[0][0] <= self.now:
                self._fire()
            if self._second < int(self.now):
                self._turn()
            if self._closing:  # by timers too: the next event may be an hour away
                for sock in self._closing:
                    sock.close()
                self._closing.clear()

    def _patience(self) -> float:
        until = self._second + 1.0 if self._wheel else self.now + 3600.0
        if self._timers:
            until = min(until, self._timers[0][0])
        return max(0.0, until - self.now)

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            timer = heapq.heappop(self._timers)[2]
            if timer.call is not None:
                self._guarded(timer.call)

    def _turn(self) -> None:
        """Turn the wheel up to now."""
        second = int(self.now)
        if second - self._second > _WHEEL:
            due = [slot for slot in self._wheel if slot <= second]
        else:
            due = [slot for slot in range(self._second + 1, second + 1) if slot in self._wheel]
        self._second = second
        for slot in sorted(due):
            for timed in self._wheel.pop(slot):
                if timed.slot != slot:
                    continue  # it has moved to an earlier slot since
                timed.slot = NEVER
                if timed.deadline < 0:
                    continue
                if timed.deadline <= second and not self._guarded(timed.overdue):
                    self._guarded(timed.crashed)
                if timed.deadline >= 0 and timed.slot == NEVER:
                    self._enrol(timed)

    def _guarded(self, call: Callable[[], object]) -> bool:
        try:
            call()
        except Exception as error:
            self.log.error("callback-crashed", exc=error)
            return False
        return True
