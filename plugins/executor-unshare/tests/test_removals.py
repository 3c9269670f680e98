"""Groups that stay busy are tried again by timers. Here a group is busy that holds a file."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from supervisor_unshare.limits import cgroups, removals
from supervisor_unshare.limits.cgroups import Group, Hierarchies
from supervisor_unshare.limits.removals import Removals


class Timers:
    """What Removals needs of a loop; fires when it is told to."""

    def __init__(self) -> None:
        self.due: list[tuple[float, Callable[[], None]]] = []

    def after(self, seconds: float, due: Callable[[], None]) -> None:
        self.due.append((seconds, due))

    def fire(self) -> float:
        """Call the only one; give how long it would have waited."""
        ((seconds, due),) = self.due
        self.due.clear()
        due()
        return seconds


class Bench:
    """A group of two directories, one of them busy."""

    def __init__(self, top: Path) -> None:
        self.timers = Timers()
        loop: Any = self.timers
        self.removals = Removals(loop)
        self.told = 0
        self.free, self.busy = top / "free", top / "busy"
        for path in (self.free, self.busy):
            path.mkdir()
        (self.busy / "process").touch()
        self.group = Group(directories=(str(self.busy), str(self.free)))

    def add(self) -> None:
        self.removals.add(self.group, self._tell)

    def let_go(self) -> None:
        (self.busy / "process").unlink()

    @property
    def left(self) -> list[str]:
        return [path.name for path in (self.free, self.busy) if path.exists()]

    def _tell(self) -> None:
        self.told += 1


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def _never(seconds: float) -> None:
    raise AssertionError("nobody may wait here")


def test_a_group_that_is_free_is_gone_at_once(bench: Bench) -> None:
    bench.let_go()
    bench.add()
    assert ([], 1, []) == (bench.left, bench.told, bench.timers.due)


def test_a_busy_group_holds_up_nobody_and_its_end_is_told_when_it_is_gone(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", _never)
    bench.add()
    bench.timers.fire()
    assert (["busy"], 0) == (bench.left, bench.told)
    bench.let_go()
    bench.timers.fire()
    assert ([], 1, []) == (bench.left, bench.told, bench.timers.due)


def test_one_that_stays_busy_is_told_of_in_time_once_and_tried_again_ever_later(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removals, "_PATIENCE", 0.0)
    bench.add()
    assert 1 == bench.told
    pauses = [bench.timers.fire() for _ in range(20)]
    assert sorted(pauses) == pauses
    assert 60.0 == pauses[-1]
    bench.let_go()
    bench.timers.fire()
    assert ([], 1, []) == (bench.left, bench.told, bench.timers.due)


def test_at_an_ordered_end_all_are_waited_for(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: bench.let_go())
    bench.add()
    bench.removals.finish(60.0)
    assert ([], 1) == (bench.left, bench.told)
    bench.timers.fire()
    assert (1, []) == (bench.told, bench.timers.due)


def test_an_ordered_end_does_not_wait_for_ever(bench: Bench) -> None:
    bench.add()
    bench.removals.finish(0.0)
    assert (["busy"], 1) == (bench.left, bench.told)
    bench.let_go()
    bench.timers.fire()
    assert ([], 1) == (bench.left, bench.told)


def test_what_belongs_to_no_run_is_found(bench: Bench, tmp_path: Path) -> None:
    found = Hierarchies(unified=str(tmp_path))
    known = Group(directories=(str(bench.busy),))
    assert (str(bench.free),) == cgroups.unknown(found, [known]).directories
