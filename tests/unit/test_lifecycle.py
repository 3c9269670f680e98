"""The tables: what can happen to a run and a bundle, and that everything ends."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from supervisor.lifecycle import (
    BUNDLE,
    ENDS,
    TABLES,
    Event,
    ImpossibleTransition,
    Shape,
    State,
    advance,
    advance_bundle,
)
from supervisor.model import BundleState


class RunMachine(RuleBasedStateMachine):
    """Throw every event at a run: it moves by the table, or raises and stays."""

    @initialize(shape=st.sampled_from(Shape))
    def begin(self, shape: Shape) -> None:
        self.shape, self.state = shape, State.QUEUED

    @rule(event=st.sampled_from(Event))
    def happens(self, event: Event) -> None:
        expected = TABLES[self.shape].get((self.state, event))
        if expected is None:
            with pytest.raises(ImpossibleTransition, match=f"{self.state}.*{event}"):
                advance(self.shape, self.state, event)
            return
        moved = advance(self.shape, self.state, event)
        assert expected is moved
        assert self.state not in ENDS, "an end is final"
        self.state = moved

    @invariant()
    def an_end_can_be_reached(self) -> None:
        if hasattr(self, "state"):
            assert self.state in ENDS or ENDS & reachable(self.shape, self.state)


TestRunMachine = RunMachine.TestCase


def reachable(shape: Shape, start: State) -> set[State]:
    found, todo = {start}, [start]
    while todo:
        here = todo.pop()
        for (was, _), now in TABLES[shape].items():
            if was is here and now not in found:
                found.add(now)
                todo.append(now)
    return found


def states_of(shape: Shape) -> set[State]:
    return reachable(shape, State.QUEUED)


@pytest.mark.parametrize("shape", Shape)
def test_every_row_of_the_table_can_be_reached(shape: Shape) -> None:
    assert {was for was, _ in TABLES[shape]} <= states_of(shape)


def test_only_what_serves_is_probed_and_only_one_shots_work() -> None:
    assert {State.PROBING, State.READY, State.DRAINING} == (
        states_of(Shape.SERVING) - states_of(Shape.ONE_SHOT)
    )
    assert {State.WORKING} == states_of(Shape.ONE_SHOT) - states_of(Shape.SERVING)


@pytest.mark.parametrize("shape", Shape)
def test_every_state_after_the_queue_may_vanish_and_none_before(shape: Shape) -> None:
    for state in states_of(shape) - ENDS:
        may = (state, Event.VANISHED) in TABLES[shape]
        assert may is (state is not State.QUEUED), state


@pytest.mark.parametrize("shape", Shape)
def test_every_state_that_is_no_end_can_be_stopped(shape: Shape) -> None:
    for state in states_of(shape) - ENDS - {State.STOPPING}:
        assert (state, Event.STOP) in TABLES[shape], state


@pytest.mark.parametrize("shape", Shape)
def test_a_process_that_exists_may_end_in_any_state(shape: Shape) -> None:
    for state in states_of(shape) - ENDS - {State.QUEUED}:
        for event in (Event.ENDED_WELL, Event.ENDED_BADLY):
            assert TABLES[shape][state, event] in ENDS


def test_what_ends_before_it_was_ready_has_failed_even_with_status_zero() -> None:
    for state in (State.STARTING, State.PROBING):
        assert State.FAILED is advance(Shape.SERVING, state, Event.ENDED_WELL)
    assert State.EXITED is advance(Shape.ONE_SHOT, State.STARTING, Event.ENDED_WELL)


def test_bundle_moves_are_between_states_that_exist() -> None:
    known = {state.value for state in BundleState}
    assert known == {state for moves in BUNDLE.values() for move in moves for state in move}


def test_a_bundle_goes_from_uploaded_to_active_and_back_to_active() -> None:
    state = "uploaded"
    for event in ("unpacked", "install", "installed", "activated", "retired", "activated"):
        state = advance_bundle(state, event)
    assert "active" == state


@pytest.mark.parametrize("state", ["active", "retired", "rejected"])
def test_a_bundle_that_was_served_or_rejected_is_not_rejected(state: str) -> None:
    with pytest.raises(ImpossibleTransition, match=state):
        advance_bundle(state, "rejected")
