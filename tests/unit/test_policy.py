"""Pure choices: which worker, how many, how long to wait."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor import policy
from supervisor.model import RunId, Scaling
from supervisor.policy import Load

LOADS = st.lists(
    st.builds(
        Load,
        run=st.text("abc", min_size=1).map(RunId),
        ready=st.booleans(),
        held=st.integers(0, 30),
        taken=st.integers(0, 30),
        busy=st.booleans(),
        requests=st.integers(0, 5),
        idle=st.floats(0, 1000),
    ),
    max_size=8,
    unique_by=lambda load: load.run,
)


def load(
    run: str, *, ready: bool = True, sessions: int = 0, requests: int = 0, busy: bool = False
) -> Load:
    return Load(
        run=RunId(run), ready=ready, taken=sessions, held=sessions, requests=requests, busy=busy
    )


def idle(run: str, seconds: float) -> Load:
    return Load(run=RunId(run), ready=True, idle=seconds)


def test_the_ready_worker_with_the_fewest_sessions_is_chosen() -> None:
    loads = [load("a", sessions=2), load("b", sessions=1), load("c", ready=False)]
    assert "b" == policy.choose(Scaling(), loads)


def test_requests_then_age_decide_between_equals() -> None:
    assert "b" == policy.choose(Scaling(), [load("a", requests=2), load("b", requests=1)])
    assert "a" == policy.choose(Scaling(), [load("b"), load("a")])


def test_nothing_is_chosen_where_nothing_is_ready() -> None:
    assert policy.choose(Scaling(), [load("a", ready=False)]) is None
    assert policy.choose(Scaling(), []) is None


@pytest.mark.parametrize(
    ("scaling", "loads", "demand", "expected"),
    [
        (Scaling(), [], False, 0),
        (Scaling(), [], True, 1),
        (Scaling(most=3), [load("a", ready=False)], True, 0),
        (Scaling(least=2, most=3), [load("a")], False, 1),
        (Scaling(most=3, sessions_each=4), [load("a", sessions=2)], False, 1),
        (Scaling(most=3, sessions_each=4), [load("a", sessions=1)], False, 0),
        (Scaling(most=1, sessions_each=4), [load("a", sessions=4)], False, 0),
        # one is on its way already
        (
            Scaling(most=3, sessions_each=4),
            [load("a", sessions=4), load("b", ready=False)],
            True,
            0,
        ),
    ],
)
def test_how_many_are_missing(
    scaling: Scaling, loads: list[Load], demand: bool, expected: int
) -> None:
    assert expected == policy.missing(scaling, loads, demand=demand)


def test_one_that_computes_is_chosen_only_where_nobody_else_may_take_the_visitor() -> None:
    busy, other = load("a", busy=True), load("b", sessions=9)
    assert "b" == policy.choose(Scaling(), [busy, other])
    assert policy.choose(Scaling(), [busy], coming=True) is None
    assert "a" == policy.choose(Scaling(), [busy])


def test_nobody_is_sent_where_no_seat_is_free() -> None:
    assert policy.choose(Scaling(sessions_each=2), [load("a", sessions=2)]) is None


@pytest.mark.parametrize(
    ("loads", "waiting", "expected"),
    [
        ([], 1, 1),
        ([], 5, 3),
        ([], 500, 3),
        ([load("a", sessions=2)], 2, 1),
        ([load("a", sessions=2)], 3, 2),
        ([load("a", sessions=1)], 1, 0),
        ([load("a", busy=True)], 1, 1),
        ([load("a", sessions=2), load("b", ready=False)], 2, 0),
        ([load("a", sessions=2), load("b", ready=False)], 3, 1),
    ],
)
def test_as_many_are_started_as_the_line_needs(
    loads: list[Load], waiting: int, expected: int
) -> None:
    scaling = Scaling(most=3, sessions_each=2, load_factor=1.0)
    assert expected == policy.missing(scaling, loads, waiting=waiting)


def test_processes_over_the_greatest_number_go_those_with_the_fewest_sessions_first() -> None:
    loads = [load("a", sessions=3), load("b", sessions=1), load("c", sessions=2)]
    assert ["b", "c"] == list(policy.excess(Scaling(most=1), loads))
    assert [] == list(policy.excess(Scaling(most=3), loads))


def test_the_next_look_is_when_the_first_one_has_been_idle_for_too_long() -> None:
    assert 20 == policy.idle_in(Scaling(idle=120), [idle("a", 100), idle("b", 30)])
    assert float("inf") == policy.idle_in(Scaling(idle=120, least=1), [idle("a", 500)])
    assert float("inf") == policy.idle_in(Scaling(idle=0), [idle("a", 500)])


def test_the_longest_idle_go_first_and_the_least_number_stays() -> None:
    loads = [idle("a", 130), idle("b", 500), load("c", sessions=1), idle("d", 10)]
    assert ["b", "a"] == list(policy.surplus(Scaling(most=4), loads))
    assert ["b"] == list(policy.surplus(Scaling(least=3, most=4), loads))


def test_idle_time_zero_means_never() -> None:
    assert () == tuple(policy.surplus(Scaling(idle=0), [idle("a", 1e9)]))


def test_a_spare_process_stays_as_long_as_the_load_factor_wants_it() -> None:
    scaling = Scaling(most=3, sessions_each=1, load_factor=1.0, idle=60.0)
    used = Load(run=RunId("a"), ready=True, taken=1, held=1)
    spare = [idle("b", 100.0), idle("c", 200.0)]
    assert ["c"] == list(policy.surplus(scaling, [used, *spare]))
    assert () == tuple(policy.surplus(scaling, [used, spare[0]]))
    assert policy.FOREVER == policy.idle_in(scaling, [used, spare[0]])
    assert ["c", "b"] == list(policy.surplus(scaling, spare))


@given(
    loads=LOADS,
    least=st.integers(0, 4),
    more=st.integers(0, 4),
    each=st.integers(1, 30),
    factor=st.floats(0, 1),
)
def test_what_is_ended_for_idling_is_not_started_again_at_once(
    loads: list[Load], least: int, more: int, each: int, factor: float
) -> None:
    scaling = Scaling(
        least=least, most=max(1, least + more), sessions_each=each, load_factor=factor, idle=1.0
    )
    ended = set(policy.surplus(scaling, loads))
    rest = [load for load in loads if load.run not in ended]
    if ended:
        assert 0 == policy.missing(scaling, rest)


@given(loads=LOADS, demand=st.booleans(), least=st.integers(0, 4), more=st.integers(0, 4))
def test_the_bounds_hold_whatever_the_load(
    loads: list[Load], demand: bool, least: int, more: int
) -> None:
    scaling = Scaling(least=least, most=max(1, least + more))
    missing = policy.missing(scaling, loads, demand=demand)
    surplus = policy.surplus(scaling, loads)
    assert missing >= 0
    assert len(loads) + missing <= max(len(loads), scaling.most)
    assert len(loads) + missing >= min(scaling.least, scaling.most)
    assert len(loads) - len(surplus) >= min(least, len(loads))
    busy = {load.run for load in loads if load.taken or load.requests or not load.ready}
    assert not busy & set(surplus)


@given(failures=st.integers(-1, 10_000), dice=st.floats(0, 1, exclude_max=True))
def test_the_delay_grows_within_its_bounds(failures: int, dice: float) -> None:
    wait = policy.delay(failures, dice)
    assert 0 <= wait <= policy.LONGEST_DELAY * (1 + policy.JITTER)
    assert (failures <= 0) is (wait == 0)
    assert wait <= policy.delay(failures + 8, dice) or failures <= 0


def test_the_delay_doubles_and_jitters() -> None:
    assert [1, 2, 4, 8] == [policy.delay(n, 0.5) for n in (1, 2, 3, 4)]
    assert policy.delay(3, 0.0) < policy.delay(3, 0.5) < policy.delay(3, 0.99)


def test_it_gives_up_after_five() -> None:
    assert [False, True] == [policy.gives_up(4), policy.gives_up(5)]
