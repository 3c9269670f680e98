from __future__ import annotations

import os
import signal
from typing import Any, cast

import pytest

from supervisor.log import Log
from supervisor.parent.child import Child, Program
from supervisor.parent.watch import REFUSALS, TimeLimits, Watch, describe

KILLED, FAILED, REFUSED, AWAY = 9, 1 << 8, 78 << 8, 69 << 8
PROGRAM = Program(name="core", argv=("core",), settings=b"", beats=True)


class RecordingChild:
    """A child that only remembers what was done to it."""

    pid = 7

    def __init__(self, trace: str = "") -> None:
        self.signals: list[int] = []
        self.told: list[dict[str, Any]] = []
        self.trace = trace

    def signal(self, number: int) -> None:
        self.signals.append(number)

    def tell(self, message: dict[str, Any]) -> bool:
        self.told.append(message)
        return True

    def reaped(self) -> str:
        return self.trace


class Launcher:
    """Start recording children, or fail as often as told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.children: list[RecordingChild] = []
        self.failures = failures

    def __call__(self, program: Program) -> Child:
        if self.failures:
            self.failures -= 1
            raise OSError(11, "no process to be had")
        self.children.append(RecordingChild())
        return cast(Child, self.children[-1])


@pytest.fixture
def launcher() -> Launcher:
    return Launcher()


def watch_with(launcher: Launcher, program: Program = PROGRAM) -> Watch:
    log = Log("parent", level="error", fd=os.open(os.devnull, os.O_WRONLY))
    return Watch(program, limits=TimeLimits(start=60.0, beat=15.0), log=log, launch=launcher)


def test_the_back_off_doubles_up_to_five_seconds(launcher: Launcher) -> None:
    watch, now, delays = watch_with(launcher), 100.0, []
    watch.tick(now)
    for _ in range(10):
        watch.ended(FAILED, now)
        assert watch.start_at is not None
        delays.append(round(watch.start_at - now, 6))
        now = watch.start_at
        watch.tick(now)

    assert [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0, 5.0] == delays


def test_ten_seconds_of_life_begin_the_back_off_anew(launcher: Launcher) -> None:
    watch, now = watch_with(launcher), 0.0
    for alive in (1.0, 1.0, 1.0, 10.0):
        watch.tick(now)
        now += alive
        watch.ended(FAILED, now)
        last, now = now, watch.start_at or 0.0

    assert last == watch.start_at


def test_a_start_that_fails_is_tried_again() -> None:
    launcher = Launcher(failures=2)
    watch = watch_with(launcher)
    for now in (0.0, 0.0, 0.1):
        assert not launcher.children
        watch.tick(now)

    assert 1 == len(launcher.children)


def test_nothing_is_done_before_it_is_due(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    watch.message({"type": "ready"}, 1.0)
    watch.tick(15.9)

    assert [] == launcher.children[0].signals
    assert 16.0 == watch.deadline()


def test_beats_move_the_deadline_only_once_it_is_ready(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    watch.message({"type": "beat"}, 5.0)
    assert 60.0 == watch.deadline()
    watch.message({"type": "ready"}, 6.0)
    assert 21.0 == watch.deadline()
    watch.message({"type": "beat"}, 9.0)

    assert 24.0 == watch.deadline()


def test_a_hung_child_is_asked_for_its_stacks_and_killed_a_moment_later(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    watch.message({"type": "ready"}, 0.0)
    child = launcher.children[0]
    child.trace = "in plugin.py"
    watch.tick(15.0)
    assert [signal.SIGUSR2] == child.signals
    watch.tick(15.2)
    assert [signal.SIGUSR2] == child.signals
    watch.tick(15.3)
    assert [signal.SIGUSR2, signal.SIGKILL] == child.signals
    assert watch.deadline() is None
    watch.ended(KILLED, 15.4)
    watch.tick(15.4)

    assert [
        {"type": "previous", "exit": "hung: no beat for 15.0 s", "trace": "in plugin.py"}
    ] == launcher.children[1].told


def test_silence_is_forgiven_where_the_parent_itself_did_not_run(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    watch.message({"type": "ready"}, 0.0)
    watch.forgive(1000.0)
    watch.tick(1000.0)

    assert [] == launcher.children[0].signals
    assert 1015.0 == watch.deadline()


def test_a_child_that_does_not_beat_must_be_ready_in_time_and_then_may_be_silent(
    launcher: Launcher,
) -> None:
    watch = watch_with(launcher, Program(name="gateway", argv=("g",), settings=b""))
    watch.tick(0.0)
    watch.tick(60.0)
    watch.tick(61.0)
    assert [signal.SIGKILL] == launcher.children[0].signals
    watch.ended(KILLED, 61.0)
    watch.tick(61.0)
    watch.message({"type": "ready"}, 62.0)
    assert watch.deadline() is None

    assert [] == launcher.children[1].told


def test_another_version_of_the_link_condemns_the_child(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    watch.message({"type": "hello", "v": 1}, 0.0)
    assert [] == launcher.children[0].signals
    watch.message({"type": "hello", "v": 99}, 0.0)

    assert [signal.SIGUSR2] == launcher.children[0].signals
    assert "speaks version 99 of the link" == watch.ended(KILLED, 1.0)


def test_a_condemned_child_cannot_put_off_its_end(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    for now in (0.0, 0.2, 0.25):
        watch.message({"type": "hello", "v": 99}, now)
    watch.tick(0.3)

    assert [signal.SIGUSR2, signal.SIGKILL] == launcher.children[0].signals


def test_a_child_that_closed_its_control_link_may_not_live_on(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    watch.message({"type": "ready"}, 0.0)
    watch.lost(1.0)
    watch.tick(5.9)
    assert [] == launcher.children[0].signals
    watch.tick(6.0)

    assert [signal.SIGKILL] == launcher.children[0].signals


def test_a_refusal_counts_only_before_the_first_ready(launcher: Launcher) -> None:
    watch = watch_with(launcher)
    watch.tick(0.0)
    assert watch.refused(REFUSED)
    assert not watch.refused(AWAY)
    assert not watch.refused(FAILED)
    assert not watch.refused(KILLED)
    watch.message({"type": "ready"}, 0.0)
    watch.ended(FAILED, 1.0)
    watch.tick(1.0)

    assert not watch.refused(REFUSED)


def test_what_may_pass_by_itself_is_no_refusal() -> None:
    assert {64, 65, 66, 67, 68, 71, 72, 73, 74, 75, 76, 77, 78} == REFUSALS


@pytest.mark.parametrize(
    ("status", "words"),
    [(0, "exit status 0"), (3 << 8, "exit status 3"), (9, "signal 9 (SIGKILL)"),
     (11 | 128, "signal 11 (SIGSEGV)"), (42, "signal 42")],
)  # fmt: skip
def test_an_end_is_told_in_words(status: int, words: str) -> None:
    assert words == describe(status)
