"""The seats of one content against a simple model, whatever happens in whatever order."""

from __future__ import annotations

from collections import Counter

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from supervisor.core.scheduling.seats import CALLED, FIRM, FOREVER, RESERVED, Hold, Seats
from supervisor.model import RunId

RUNS = st.sampled_from([RunId("r1"), RunId("r2"), RunId("r3")])
VISITORS = st.sampled_from(["ann", "bob", "cid"])
# a name is never used again: for another gateway or another visitor
NAMES = st.sampled_from(
    [f"{gateway}-{who}-{n}" for gateway in ("old", "new") for who in ("ann", "bob") for n in "12"]
)
SECONDS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 10.0, 15.0])


@attrs.define
class Held:
    """A seat of the model: open where `until` is None."""

    run: RunId
    visitor: str
    until: float | None = None
    place: int = 0  # among all that were ever left


class SeatsAndModel(RuleBasedStateMachine):
    """The model says who holds what until when, without counters and without a heap."""

    def __init__(self) -> None:
        super().__init__()
        self.seats = Seats()
        self.now = 100.0
        self.named: dict[str, Held] = {}
        self.left = 0
        self.promised: dict[str, tuple[RunId, float, float]] = {}  # run, firm until, kept until

    # -- what happens -------------------------------------------------------------------------

    @rule(visitor=VISITORS, run=RUNS, firm=st.sampled_from([FIRM, CALLED]))
    def a_page_is_loaded(self, visitor: str, run: RunId, firm: float) -> None:
        self.seats.reserve(visitor, run, self.now, firm=firm)
        end = self.now + firm
        earlier = self.promised.get(visitor)
        if earlier is not None and earlier[0] == run:
            end = max(end, earlier[1])  # a promise is never made shorter
        self.promised[visitor] = (run, end, max(end, self.now + RESERVED))

    @rule(visitor=VISITORS)
    def a_promise_is_taken_back(self, visitor: str) -> None:
        self.seats.cancel(visitor)
        self.promised.pop(visitor, None)

    @rule(name=NAMES, run=RUNS)
    def a_session_opens(self, name: str, run: RunId) -> None:
        _, visitor, _ = name.split("-")
        self.seats.take(name, run, visitor, self.now)
        if name not in self.named:
            lost = self.lost_ones(visitor, run)
            if lost:
                del self.named[lost[0]]
        self.named[name] = Held(run=run, visitor=visitor)
        if self.promised.get(visitor, ("",))[0] == run:
            del self.promised[visitor]

    @rule(name=NAMES, keep=SECONDS)
    def a_session_is_left(self, name: str, keep: float) -> None:
        self.seats.leave(name, self.now, keep)
        self._leave(name, keep)

    def _leave(self, name: str, keep: float) -> None:
        held = self.named.get(name)
        if held is not None and held.until is None:
            self.left += 1
            held.until, held.place = self.now + keep, self.left
            if keep == 0:
                del self.named[name]

    @rule(name=NAMES)
    def a_seat_is_freed(self, name: str) -> None:
        self.seats.drop(name)
        self.named.pop(name, None)

    @rule(visitor=VISITORS, run=RUNS)
    def a_lost_seat_is_given_up(self, visitor: str, run: RunId) -> None:
        self.seats.give_up(visitor, run)
        for name in self.lost_ones(visitor, run)[:1]:
            del self.named[name]

    @rule(run=RUNS)
    def a_run_ends(self, run: RunId) -> None:
        self.seats.forget(run)
        self.named = {name: held for name, held in self.named.items() if held.run != run}
        self.promised = {v: promise for v, promise in self.promised.items() if promise[0] != run}

    @rule(seconds=SECONDS)
    def time_passes(self, seconds: float) -> None:
        before = self.seats.next_moment()
        self.now += seconds
        changed = self.seats.expire(self.now)
        assert not (changed and before > self.now), "it said that nothing would be due"
        for name, held in list(self.named.items()):
            if held.until is not None and held.until <= self.now:
                del self.named[name]
        self.promised = {v: p for v, p in self.promised.items() if p[2] > self.now}

    @precondition(lambda self: self.seats.next_moment() < FOREVER)
    @rule()
    def time_passes_to_the_next_moment(self) -> None:
        self.time_passes(seconds=self.seats.next_moment() - self.now)

    # -- what holds ---------------------------------------------------------------------------

    def lost_ones(self, visitor: str, run: RunId) -> list[str]:
        """Names of the seats that are kept for a lost client, the first one first."""
        away = [
            (held.place, name)
            for name, held in self.named.items()
            if held.until is not None and (held.visitor, held.run) == (visitor, run)
        ]
        return [name for _, name in sorted(away)]

    @invariant()
    def counts_agree(self) -> None:
        held = Counter(one.run for one in self.named.values())
        firm = Counter(run for run, until, _ in self.promised.values() if until > self.now)
        for run in ("r1", "r2", "r3"):
            assert held[RunId(run)] == self.seats.held(RunId(run))
            assert held[RunId(run)] + firm[RunId(run)] == self.seats.taken(RunId(run))
        assert len(self.named) == self.seats.total()

    @invariant()
    def everybody_has_what_they_were_promised(self) -> None:
        for visitor in ("ann", "bob", "cid"):
            promise = self.promised.get(visitor)
            assert (None if promise is None else promise[0]) == self.seats.reservation(visitor)
            firm = promise is not None and promise[1] > self.now
            assert firm == self.seats.is_firm(visitor)
            for run in (RunId("r1"), RunId("r2"), RunId("r3")):
                assert bool(self.lost_ones(visitor, run)) == self.seats.lost(visitor, run)

    @invariant()
    def states_agree(self) -> None:
        for name, held in self.named.items():
            seat = self.seats.get(name)
            assert seat is not None
            assert (held.run, held.visitor) == (seat.run, seat.visitor)
            assert (Hold.OPEN if held.until is None else Hold.AWAY) == seat.hold
        assert len(list(self.seats)) == len(self.named) + len(self.promised)

    @invariant()
    def whatever_is_kept_has_an_end(self) -> None:
        ends = [held.until for held in self.named.values() if held.until is not None]
        ends += [until for _, _, until in self.promised.values()]
        assert self.seats.next_moment() <= min(ends, default=FOREVER)

    def teardown(self) -> None:
        """When all have left and time has passed, nothing is remembered."""
        for name in list(self.named):
            self.seats.leave(name, self.now, 5.0)
        self.seats.expire(self.now + 100)
        assert [] == list(self.seats)
        assert not any([self.seats._held, self.seats._firm, self.seats._away, self.seats._moments])


SeatsAndModel.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestSeats = SeatsAndModel.TestCase
