"""Which clones the pool keeps, gives and ends. Those here are pipes: a closed one has ended."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from supervisor_unshare.helper.pool import Pool, Wanted
from supervisor_unshare.linux.loop import Loop
from supervisor_unshare.sandbox.steps import StartFailed

from supervisor import Log

FIRST = Wanted(generation=1, groups=frozenset({"/memory"}), network="host")
OWN_NETWORK = Wanted(generation=1, groups=frozenset({"/memory"}), network="own")
CHANGED = Wanted(generation=2, groups=frozenset({"/memory"}), network="host")


class FakeClone:
    """What the pool knows of a clone."""

    def __init__(self, wanted: Wanted, pid: int) -> None:
        self.wanted = wanted
        self.pid = pid
        self.pidfd, self._alive = os.pipe()
        self.closed = False

    def die(self) -> None:
        os.close(self._alive)
        self._alive = -1

    def close(self) -> None:
        assert not self.closed
        self.closed = True
        os.close(self.pidfd)
        if self._alive != -1:
            self.die()


class Bench:
    """A pool of two, and all that it has made."""

    def __init__(self) -> None:
        self.made: list[FakeClone] = []
        self.failure: Exception | None = None
        self.loop = Loop(self._raise)
        make: Callable[[Wanted], Any] = self._make
        self.pool = Pool(self.loop, make, Log("test", level="error"), 2)

    def settle(self) -> None:
        """Let everything happen that is due."""
        self.loop = self.pool._loop
        self.loop._stopped = False
        self.loop.after(0.02, self.loop.stop)
        self.loop.run()

    def started(self, wanted: Wanted) -> Any:
        """Take one for a start that succeeds, and let the pool fill up."""
        clone = self.pool.take(wanted)
        self.pool.refill()
        self.settle()
        return clone

    @property
    def waiting(self) -> list[FakeClone]:
        return [clone for _, clone in self.pool._waiting]  # type: ignore[misc]

    def _make(self, wanted: Wanted) -> FakeClone:
        if self.failure is not None:
            raise self.failure
        self.made.append(FakeClone(wanted, len(self.made)))
        return self.made[-1]

    def _raise(self, error: Exception) -> None:
        raise error


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.pool.close()
    for clone in made.made:
        if not clone.closed:
            clone.close()


def test_the_first_start_makes_its_own_and_the_next_ones_find_theirs(bench: Bench) -> None:
    given = [bench.started(FIRST) for _ in range(5)]
    assert [0, 1, 2, 3, 4] == [clone.pid for clone in given]
    assert 7 == len(bench.made)
    assert [5, 6] == [clone.pid for clone in bench.waiting]


def test_what_is_given_is_ended_by_nobody_here(bench: Bench) -> None:
    given = bench.started(FIRST)
    given.die()
    bench.settle()
    bench.pool.close()
    assert not given.closed


def test_a_start_that_has_not_succeeded_makes_nothing_ahead(bench: Bench) -> None:
    bench.pool.take(FIRST)
    bench.settle()
    assert [] == bench.waiting


def test_what_is_put_off_comes_once_and_no_later_than_the_end_of_a_run(bench: Bench) -> None:
    for seconds in (0.01, 60.0):  # before, and after, all has settled
        bench.pool.take(FIRST)
        bench.pool.refill(after=seconds)
        bench.pool.hurry()
        bench.settle()
        assert 2 == len(bench.waiting)
    assert 4 == len(bench.made)


def test_what_is_put_off_does_not_come_before_its_time(bench: Bench) -> None:
    bench.pool.take(FIRST)
    bench.pool.refill(after=60.0)
    bench.settle()
    assert [] == bench.waiting


def test_the_end_of_a_run_makes_nothing_ahead_that_no_start_has_asked_for(bench: Bench) -> None:
    bench.pool.take(FIRST)
    bench.pool.hurry()
    bench.settle()
    assert [] == bench.waiting


def test_starts_of_two_kinds_in_turns_do_not_end_each_others(bench: Bench) -> None:
    bench.started(FIRST)
    bench.pool.take(OWN_NETWORK)
    assert [False, False] == [clone.closed for clone in bench.waiting]
    assert FIRST == bench.pool.take(FIRST).wanted  # type: ignore[attr-defined]
    assert 4 == len(bench.made)


def test_there_are_never_more_than_its_size(bench: Bench) -> None:
    for wanted in (FIRST, OWN_NETWORK, FIRST, OWN_NETWORK):
        bench.started(wanted)
        assert 2 == len(bench.waiting)
    assert [OWN_NETWORK, OWN_NETWORK] == [clone.wanted for clone in bench.waiting]


def test_what_was_made_before_the_host_changed_is_never_given(bench: Bench) -> None:
    bench.started(FIRST)
    old = bench.waiting
    given = bench.started(CHANGED)
    assert CHANGED == given.wanted
    assert [True, True] == [clone.closed for clone in old]
    assert [CHANGED, CHANGED] == [clone.wanted for clone in bench.waiting]


def test_one_that_has_died_is_not_given_even_before_that_was_noticed(bench: Bench) -> None:
    bench.started(FIRST)
    dead, alive = bench.waiting
    dead.die()
    assert alive.pid == bench.pool.take(FIRST).pid
    bench.settle()
    assert dead.closed


@pytest.mark.parametrize("failure", [StartFailed("clone", 11, "no"), OSError(24, "files")])
def test_what_cannot_be_made_ahead_is_not_tried_again_and_again(
    bench: Bench, failure: Exception
) -> None:
    bench.pool.take(FIRST)
    bench.failure = failure
    bench.pool.refill()
    bench.settle()
    assert [] == bench.waiting
    with pytest.raises(type(failure)):
        bench.pool.take(FIRST)
    bench.failure = None
    bench.started(FIRST)
    assert 2 == len(bench.waiting)


def test_a_closed_pool_has_ended_all_and_can_be_used_again(bench: Bench) -> None:
    bench.started(FIRST)
    old = bench.waiting
    bench.pool.close()
    bench.settle()
    assert ([True, True], []) == ([clone.closed for clone in old], bench.waiting)
    bench.started(FIRST)
    assert 2 == len(bench.waiting)
