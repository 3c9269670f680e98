"""Room for processes that are starting: not everything at once, visitors first."""

from __future__ import annotations

from collections import deque

import attrs
import trio

LONGEST_START = 120.0  # seconds for which one start keeps those of other contents waiting


@attrs.define(eq=False)
class Starts:
    """At most `most` processes start at once, at most half of them because nobody waits for them.

    So after a restart of the server the kept processes of many contents come one after the other,
    and a visitor of any content does not wait for them.
    """

    most: int
    _starting: int = 0
    _unasked: int = 0
    _visitors: deque[trio.Event] = attrs.field(factory=deque)
    _others: deque[trio.Event] = attrs.field(factory=deque)

    @property
    def waiting(self) -> int:
        """How many wait for room."""
        return len(self._visitors) + len(self._others)

    @property
    def under_way(self) -> int:
        """How many processes are starting."""
        return self._starting

    async def enter(self, *, asked: bool) -> None:
        """Wait for room; leave() gives it back. asked: somebody waits for this process."""
        if not self._has_room(asked):
            turn = trio.Event()
            line = self._visitors if asked else self._others
            line.append(turn)
            try:
                await turn.wait()
            except trio.Cancelled:
                if turn.is_set():
                    self.leave(asked=asked)  # it was given to us already
                else:
                    line.remove(turn)
                raise
            return
        self._count(asked, 1)

    def adopt(self) -> None:
        """Count a process that an earlier core began to start; leave(asked=True) follows."""
        self._count(True, 1)

    def leave(self, *, asked: bool) -> None:
        """Give the room back: the process is ready, or gone, or takes too long."""
        self._count(asked, -1)
        self._let_in()

    def allow(self, most: int) -> None:
        """Let another number of processes start at once, from now on."""
        self.most = most
        self._let_in()

    def _let_in(self) -> None:
        for line, wanted in ((self._visitors, True), (self._others, False)):
            while line and self._has_room(wanted):
                self._count(wanted, 1)
                line.popleft().set()

    def _has_room(self, asked: bool) -> bool:
        if self._starting >= self.most:
            return False
        return asked or self._unasked < max(1, self.most // 2)

    def _count(self, asked: bool, by: int) -> None:
        self._starting += by
        if not asked:
            self._unasked += by
