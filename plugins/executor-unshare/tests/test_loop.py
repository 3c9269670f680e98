"""Work in forked children: what others ask for takes its turn, and nothing holds up our own."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from supervisor_unshare.helper.service import Service
from supervisor_unshare.linux import loop as loops
from supervisor_unshare.linux.loop import Full, Loop
from supervisor_unshare.requests.fields import Refused

from supervisor.layout import PlaceKind, PlaceRef

AT_ONCE = 4


class Gate:
    """A loop, and work for it that says that it has begun and waits until it is let on."""

    def __init__(self) -> None:
        self.loop = Loop(_raise)
        self.done: list[str] = []
        self.begun = 0
        self._said, self._say = os.pipe()
        self._wait, self._let = os.pipe()
        self.loop.watch(self._said, self._has_begun)
        self._until: Callable[[], bool] = bool

    def work(self) -> None:
        os.write(self._say, b"+")
        os.read(self._wait, 1)

    def finished(self, error: str) -> None:
        self.done.append(error)
        self._look()

    def let_on(self, count: int) -> None:
        os.write(self._let, b"." * count)

    def run_until(self, true: Callable[[], bool]) -> None:
        self.loop._stopped = False
        self._until = true
        self._look()
        self.loop.run()

    def close(self) -> None:
        for fd in (self._said, self._say, self._wait, self._let):
            os.close(fd)

    def _has_begun(self) -> None:
        self.begun += len(os.read(self._said, 100))
        self._look()

    def _look(self) -> None:
        if self._until():
            self.loop.stop()


def _raise(error: Exception) -> None:
    raise error


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.let_on(made.loop.asides)
    made.run_until(lambda: not made.loop.asides)
    made.close()


def children() -> int:
    return len(Path("/proc/thread-self/children").read_text().split())


def test_what_others_ask_for_is_done_a_few_at_once_and_all_of_it(gate: Gate) -> None:
    before = children()
    for _ in range(10):
        gate.loop.aside_in_turn(gate.work, gate.finished)
    gate.run_until(lambda: gate.begun == AT_ONCE)
    assert (AT_ONCE, 10) == (children() - before, gate.loop.asides)
    gate.let_on(10)
    gate.run_until(lambda: len(gate.done) == 10)
    assert ([""] * 10, 10, 0) == (gate.done, gate.begun, gate.loop.asides)
    assert before == children()


def test_our_own_work_waits_for_nobody(gate: Gate) -> None:
    for _ in range(6):
        gate.loop.aside_in_turn(gate.work, gate.finished)
    gate.loop.aside(lambda: None, gate.finished)
    gate.run_until(lambda: len(gate.done) == 1)
    assert ([""], 6) == (gate.done, gate.loop.asides)


def test_what_goes_beyond_is_refused(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "_MAX_WAITING", 2)
    for _ in range(AT_ONCE + 2):
        gate.loop.aside_in_turn(gate.work, gate.finished)
    with pytest.raises(Full, match="6 tasks"):
        gate.loop.aside_in_turn(gate.work, gate.finished)
    service = Service.__new__(Service)
    service._loop = gate.loop
    for verb in (service.seal, service.remove):
        with pytest.raises(Refused, match="too much to do") as caught:
            verb(print, print, PlaceRef(kind=PlaceKind.STATE, ids=(1,)))
        assert "unavailable" == caught.value.code


def test_what_cannot_be_forked_is_told_and_the_next_has_its_turn(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "fork", _refuse)
        gate.loop.aside_in_turn(gate.work, gate.finished)
    assert 0 == gate.loop.asides
    assert "no process can be forked" in gate.done[0]
    gate.loop.aside_in_turn(gate.work, gate.finished)
    gate.run_until(lambda: gate.begun == 1)


def _refuse() -> int:
    raise BlockingIOError(11, "Resource temporarily unavailable")
