"""The line against a simple list, whatever happens in whatever order."""

from __future__ import annotations

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from supervisor.core.scheduling.line import PATIENCE, Line, Place

KEYS = st.sampled_from([f"visitor-{number}" for number in range(6)])


@attrs.define
class Waits:
    """A place of the model."""

    place: Place
    seen: float
    comes_back: bool
    listening: int = 0

    @property
    def counts(self) -> bool:
        return self.comes_back or self.listening > 0


class LineAndModel(RuleBasedStateMachine):
    """The model is a dict in the order of joining, of which everything is counted anew."""

    def __init__(self) -> None:
        super().__init__()
        self.line = Line()
        self.now = 100.0
        self.model: dict[str, Waits] = {}

    @rule(key=KEYS, comes_back=st.booleans())
    def somebody_joins(self, key: str, comes_back: bool) -> None:
        place = self.line.join(key, key, self.now, comes_back=comes_back)
        known = self.model.get(key)
        if known is None:
            self.model[key] = Waits(place=place, seen=self.now, comes_back=comes_back)
        else:
            assert place is known.place, "whoever asks again keeps the place"
            known.seen, known.comes_back = self.now, True

    @rule(key=KEYS)
    def somebody_listens(self, key: str) -> None:
        if key in self.model:
            self.model[key].listening += 1
            self.line.listens(self.model[key].place, +1)

    @rule(key=KEYS)
    def somebody_listens_no_more(self, key: str) -> None:
        known = self.model.get(key)
        if known is not None and known.listening:
            known.listening -= 1
            known.seen = known.place.seen = self.now
            self.line.listens(known.place, -1)

    @rule(key=KEYS)
    def a_page_is_closed(self, key: str) -> None:
        if key in self.model:
            self.model[key].comes_back = False
            self.line.closed(self.model[key].place)

    @rule(key=KEYS)
    def somebody_leaves(self, key: str) -> None:
        known = self.model.pop(key, None)
        if known is not None:
            self.line.leave(known.place)
            self.line.leave(known.place)  # twice is fine
            assert len(self.model) + 1 == self.line.position(known.place)

    @rule(seconds=st.sampled_from([0.0, 1.0, PATIENCE / 2, PATIENCE]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        lost = [
            key
            for key, known in self.model.items()
            if not known.listening and known.seen + PATIENCE <= self.now
        ]
        due = self.line.next_moment()
        assert bool(lost) == (due <= self.now)
        assert bool(lost) == self.line.expire(self.now)
        for key in lost:
            del self.model[key]

    @invariant()
    def order_and_positions_agree(self) -> None:
        assert list(self.model) == [place.key for place in self.line]
        ahead = 0
        for known in self.model.values():
            assert self.line.holds(known.place)
            assert ahead + 1 == self.line.position(known.place)
            ahead += known.counts
        assert ahead == self.line.waiting()

    @invariant()
    def the_first_is_the_first_who_counts(self) -> None:
        first = next((known.place for known in self.model.values() if known.counts), None)
        assert first is self.line.first()


LineAndModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestLine = LineAndModel.TestCase


def test_whoever_asks_again_is_no_news_for_the_others() -> None:
    line = Line()
    place = line.join("a", "a", 0.0, comes_back=True)
    before = line.changes
    line.listens(place, +1)
    line.join("a", "a", 1.0, comes_back=True)
    line.listens(place, -1)
    assert before == line.changes


def test_a_place_that_begins_to_count_moves_the_others() -> None:
    line = Line()
    once, other = line.join("once", "once", 0.0), line.join("other", "other", 0.0, comes_back=True)
    assert 1 == line.position(other)
    line.listens(once, +1)
    assert 2 == line.position(other)
