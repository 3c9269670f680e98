"""The seats of one content: who holds which, and until when. No clock of its own: `now` is given.

See docs/design/sessions.md. A seat is reserved by a page, taken by a WebSocket, kept for a while
for a client that was lost. Everything here is exact: what is counted is what was granted.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

import attrs

from supervisor.model import RunId

FIRM = 2.0  # seconds for which a page's reservation counts as taken
CALLED = 10.0  # the same for a visitor who was called from the line and has to load the page yet
RESERVED = 15.0  # seconds for which a reservation guides the choice of a worker
CLOSED = 2.0  # seconds for which a seat is kept that its client gave back in order: a reload

FOREVER = float("inf")


class Hold(StrEnum):
    """How a seat is held."""

    RESERVED = "reserved"
    OPEN = "open"
    AWAY = "away"


@attrs.define(eq=False)
class Seat:
    """One seat. name: the gateway's for it, "" for a reservation; times in seconds of one clock."""

    run: RunId
    visitor: str
    hold: Hold
    since: float
    name: str = ""
    firm: float = FOREVER  # it counts as taken until then
    until: float = FOREVER  # it is held until then


@attrs.define(eq=False)
class Seats:
    """All seats of one content that somebody holds."""

    _named: dict[str, Seat] = attrs.field(factory=dict)  # open and away
    _reserved: dict[str, Seat] = attrs.field(factory=dict)  # by visitor
    _away: dict[str, list[Seat]] = attrs.field(factory=dict)  # by visitor
    _held: Counter[RunId] = attrs.field(factory=Counter)  # open and away, by run
    _firm: Counter[RunId] = attrs.field(factory=Counter)  # reserved and firm, by run
    _moments: list[tuple[float, int, Seat]] = attrs.field(factory=list)
    _order: Iterator[int] = attrs.field(factory=itertools.count)

    def __iter__(self) -> Iterator[Seat]:
        yield from self._named.values()
        yield from self._reserved.values()

    # -- counts -------------------------------------------------------------------------------

    def held(self, run: RunId) -> int:
        """Give how many sessions a run has: open, and kept for lost clients."""
        return self._held[run]

    def taken(self, run: RunId) -> int:
        """Give how many of a run's seats nobody else may have now: held, or firmly reserved."""
        return self._held[run] + self._firm[run]

    def total(self) -> int:
        """Give how many sessions there are."""
        return len(self._named)

    # -- reservations -------------------------------------------------------------------------

    def reserve(self, visitor: str, run: RunId, now: float, *, firm: float = FIRM) -> None:
        """Promise a visitor a seat, in place of an earlier promise; never firm for less long."""
        earlier, end = self._reserved.get(visitor), now + firm
        if earlier is not None and earlier.run == run and earlier.firm < FOREVER:
            end = max(end, earlier.firm)
        self.cancel(visitor)
        until = max(end, now + RESERVED)
        seat = Seat(run=run, visitor=visitor, hold=Hold.RESERVED, since=now, firm=end, until=until)
        self._reserved[visitor] = seat
        self._firm[run] += 1
        self._due(seat.firm, seat)
        self._due(seat.until, seat)

    def reservation(self, visitor: str) -> RunId | None:
        """Give the run in which a seat is promised to this visitor."""
        seat = self._reserved.get(visitor)
        return None if seat is None else seat.run

    def is_firm(self, visitor: str) -> bool:
        """Whether the promise still counts as taken: then the seat is the visitor's for sure."""
        seat = self._reserved.get(visitor)
        return seat is not None and seat.firm < FOREVER

    def cancel(self, visitor: str) -> None:
        """Forget a promise; where there is none that is fine."""
        seat = self._reserved.pop(visitor, None)
        if seat is not None:
            self._soften(seat)
            seat.until = FOREVER

    # -- sessions -----------------------------------------------------------------------------

    def take(self, name: str, run: RunId, visitor: str, now: float) -> None:
        """Open a session: in the seat of that name, the visitor's promised or lost one, or anew.

        Whether there is room is the caller's question.
        """
        seat = self._named.get(name) or self._lost_one(visitor, run)
        if seat is None or seat.run != run:
            self.drop(name)
            seat = Seat(run=run, visitor=visitor, hold=Hold.OPEN, since=now)
            self._held[run] += 1
        else:
            self._named.pop(seat.name, None)
            self._back(seat)
        if self.reservation(visitor) == run:
            self.cancel(visitor)
        seat.hold, seat.name, seat.until = Hold.OPEN, name, FOREVER
        self._named[name] = seat

    def lost(self, visitor: str, run: RunId) -> bool:
        """Whether this visitor has a seat in that run to come back to."""
        return self._lost_one(visitor, run) is not None

    def leave(self, name: str, now: float, keep: float) -> None:
        """Learn that a session's connection has ended; its seat is kept for `keep` seconds."""
        seat = self._named.get(name)
        if seat is None or seat.hold is not Hold.OPEN:
            return
        if keep <= 0:
            self.drop(name)
            return
        seat.hold, seat.until = Hold.AWAY, now + keep
        self._away.setdefault(seat.visitor, []).append(seat)
        self._due(seat.until, seat)

    def give_up(self, visitor: str, run: RunId) -> None:
        """Free a lost session's seat of this visitor: they load the page anew instead."""
        seat = self._lost_one(visitor, run)
        if seat is not None:
            self.drop(seat.name)

    def drop(self, name: str) -> None:
        """Free a seat at once."""
        seat = self._named.pop(name, None)
        if seat is not None:
            self._back(seat)
            self._count_down(self._held, seat.run)
            seat.until = FOREVER

    def get(self, name: str) -> Seat | None:
        """Give an open or kept seat."""
        return self._named.get(name)

    # -- time ---------------------------------------------------------------------------------

    def next_moment(self) -> float:
        """Give when `expire` has something to do next; infinity where it never has."""
        while self._moments:
            moment, _, seat = self._moments[0]
            if moment in (seat.firm, seat.until):
                return moment
            heapq.heappop(self._moments)  # it was taken, or given up, meanwhile
        return FOREVER

    def expire(self, now: float) -> bool:
        """Free what was held until now; tell whether anything has changed."""
        changed = False
        while self._moments and self._moments[0][0] <= now:
            _, _, seat = heapq.heappop(self._moments)
            if seat.firm <= now:
                self._soften(seat)
                changed = True
            if seat.until <= now:
                changed = True
                if seat.hold is Hold.AWAY:
                    self.drop(seat.name)
                elif self._reserved.get(seat.visitor) is seat:
                    self.cancel(seat.visitor)
        return changed

    def forget(self, run: RunId) -> None:
        """Free all seats of a run that is gone."""
        if not self._held[run] and not any(seat.run == run for seat in self._reserved.values()):
            return
        for seat in [seat for seat in self if seat.run == run]:
            if seat.hold is Hold.RESERVED:
                self.cancel(seat.visitor)
            else:
                self.drop(seat.name)

    # -- parts --------------------------------------------------------------------------------

    def _due(self, moment: float, seat: Seat) -> None:
        heapq.heappush(self._moments, (moment, next(self._order), seat))

    def _soften(self, seat: Seat) -> None:
        if seat.hold is Hold.RESERVED and seat.firm < FOREVER:
            seat.firm = FOREVER  # never again
            self._count_down(self._firm, seat.run)

    def _lost_one(self, visitor: str, run: RunId) -> Seat | None:
        return next((seat for seat in self._away.get(visitor, ()) if seat.run == run), None)

    def _back(self, seat: Seat) -> None:
        """Take a seat off the list of those that are kept for their clients."""
        kept = self._away.get(seat.visitor)
        if kept is not None and seat in kept:
            kept.remove(seat)
            if not kept:
                del self._away[seat.visitor]

    @staticmethod
    def _count_down(counter: Counter[RunId], run: RunId) -> None:
        counter[run] -= 1
        if counter[run] <= 0:
            del counter[run]
