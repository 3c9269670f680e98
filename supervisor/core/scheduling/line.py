"""The line of visitors who wait for a seat of one content: first come, first served.

A place belongs to a visitor who asks again and again, or to a request that is held. Whoever asks
no more loses it; whoever came only once never takes a turn. No clock of its own: `now` is given.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs
import trio

from supervisor.model import RunId

GLIMPSES = 256  # places of those who came once; a flood of page loads must not fill the line
PATIENCE = 10.0  # seconds without a sign after which a place is lost


@attrs.define(eq=False)
class Place:
    """One place in line. granted is set when its turn has come; told is what it was told last.

    passed: somebody looked who may go in, and nobody may before something changes. seat: the name
    under which a WebSocket wants its seat; None for a page.
    """

    key: str
    visitor: str
    joined: float
    seen: float
    seat: str | None = None
    pinned: RunId | None = None
    granted: RunId | None = None
    passed: bool = False
    listening: int = 0
    comes_back: bool = False
    told: object = None
    news: trio.Event = attrs.field(factory=trio.Event)

    @property
    def counts(self) -> bool:
        """Whether it may take a turn: somebody listens, or has come back before."""
        return self.listening > 0 or self.comes_back

    def tell(self) -> None:
        """Wake whoever listens."""
        news, self.news = self.news, trio.Event()
        news.set()


@attrs.define(eq=False)
class Line:
    """Places in the order in which they were joined."""

    _places: dict[str, Place] = attrs.field(factory=dict)
    _glimpses: dict[str, Place] = attrs.field(factory=dict)  # those of _places that do not count
    changes: int = 0  # grows whenever somebody's position may be another
    moves: int = 0  # grows with each place that comes, goes, or counts now or no more
    _counted: dict[str, Place] = attrs.field(factory=dict)
    _positions: dict[str, int] = attrs.field(factory=dict)  # emptied by every change

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def __len__(self) -> int:
        return len(self._places)

    def join(self, key: str, visitor: str, now: float, *, comes_back: bool = False) -> Place:
        """Give the place of that key, at the end of the line where there was none."""
        place = self._places.get(key)
        if place is None:
            place = Place(key=key, visitor=visitor, joined=now, seen=now, comes_back=comes_back)
            self._places[key] = place
        else:
            place.comes_back = True
        place.seen = now
        self._changed(place)
        return place

    def listens(self, place: Place, by: int) -> None:
        """Count who listens for this place's turn."""
        place.listening += by
        self._changed(place)

    def closed(self, place: Place) -> None:
        """Learn that its page was closed: it takes no turn, unless somebody asks for it again."""
        place.comes_back = False
        self._changed(place)

    def _changed(self, place: Place) -> None:
        held = self.holds(place)
        if not held and place.key in self._places:
            return  # its visitor has come anew meanwhile: what counts is that place
        kept = self._counted if place.counts else self._glimpses
        if held and place.key in kept:
            return  # who asks again changes nothing for the others
        was = self._counted.pop(place.key, None) or self._glimpses.pop(place.key, None)
        if held:
            kept[place.key] = place
        elif was is None:
            return  # it has left before
        self._positions.clear()
        self.moves += 1
        if not held or next(reversed(self._places)) != place.key:
            self.changes += 1  # else nobody stands behind it
        if len(self._glimpses) > GLIMPSES:
            self.leave(next(iter(self._glimpses.values())))

    def holds(self, place: Place) -> bool:
        """Whether it is still in line."""
        return self._places.get(place.key) is place

    def leave(self, place: Place) -> None:
        """Give a place up; twice is fine."""
        if self.holds(place):
            del self._places[place.key]
            self._changed(place)

    def first(self) -> Place | None:
        """Give whose turn is next."""
        return next((place for place in self if place.counts), None)

    def waiting(self) -> int:
        """Give how many wait in earnest."""
        return len(self._counted)

    def staying(self) -> int:
        """Give for how many a process may be started: not for a page that was only just loaded."""
        return sum(p.comes_back or p.seat is not None for p in self._counted.values())

    def position(self, place: Place) -> int:
        """Give 1 for whoever is next; one past the last for a place that is not in line."""
        if not self._positions:
            ahead = 0
            for other in self:
                self._positions[other.key] = ahead + 1
                ahead += other.counts
        return self._positions.get(place.key, len(self) + 1)

    def next_moment(self) -> float:
        """Give when the next place may be lost."""
        return min((p.seen + PATIENCE for p in self if not p.listening), default=float("inf"))

    def expire(self, now: float) -> bool:
        """Drop the places of those who ask no more; tell whether there were any."""
        lost = [p for p in self if not p.listening and p.seen + PATIENCE <= now]
        for place in lost:
            self.leave(place)
        return bool(lost)

    def passed(self) -> None:
        """Let pages that were only just loaded be shown: nobody's turn comes at once."""
        for place in self._counted.values():
            if place.listening and not (place.passed or place.seat):
                place.passed = True
                place.tell()

    def tell(self) -> None:
        """Wake everybody who listens: positions have changed, or there is nothing to wait for."""
        for place in self:
            if place.listening:
                place.tell()
