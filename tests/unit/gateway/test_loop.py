"""The loop: deadlines move, timers fire in order, one that raises ends only itself."""

from __future__ import annotations

import os
import socket

import pytest

from supervisor.gateway.loop import GONE_FOR_GOOD, IN, NEVER, Loop
from supervisor.log import Log


@pytest.fixture
def loop() -> Loop:
    loop = Loop(Log("test", fd=os.open(os.devnull, os.O_WRONLY)))
    loop.later(20, loop.stop)
    return loop


class Timed:
    def __init__(self, loop: Loop, fails: bool = False) -> None:
        self.loop = loop
        self.fails = fails
        self.deadline = NEVER
        self.slot = NEVER
        self.told: list[str] = []

    def overdue(self) -> None:
        self.told.append("overdue")
        self.deadline = NEVER
        if self.fails:
            raise RuntimeError("broken")
        self.loop.stop()

    def crashed(self) -> None:
        self.told.append("crashed")
        self.deadline = GONE_FOR_GOOD


def test_a_deadline_can_be_moved_nearer_and_further(loop: Loop) -> None:
    nearer, further = Timed(loop), Timed(loop)
    loop.within(nearer, 75)
    loop.within(nearer, 1)
    loop.within(further, 1)
    loop.within(further, 75)
    loop.run()
    assert (["overdue"], []) == (nearer.told, further.told)


def test_a_callback_that_raises_ends_only_itself(loop: Loop) -> None:
    broken, fine = Timed(loop, fails=True), Timed(loop)
    loop.within(broken, 1)
    loop.within(fine, 2)
    loop.run()
    assert ["overdue", "crashed"] == broken.told
    assert ["overdue"] == fine.told


def test_timers_fire_in_order_unless_cancelled(loop: Loop) -> None:
    fired: list[int] = []
    loop.later(0.03, loop.stop)
    loop.later(0.02, lambda: fired.append(2))
    loop.later(0.01, lambda: fired.append(1))
    loop.later(0.01, lambda: fired.append(3)).cancel()
    loop.run()
    assert [1, 2] == fired


def test_what_a_timer_closes_does_not_wait_for_another_event(loop: Loop) -> None:
    ours, theirs = socket.socketpair()

    def due() -> None:
        loop.close(ours)
        loop.stop()

    loop.later(0.01, due)
    loop.run()
    theirs.setblocking(False)
    assert b"" == theirs.recv(1)
    assert -1 == ours.fileno()
    theirs.close()


def test_a_watcher_that_raises_is_told_and_the_loop_goes_on(loop: Loop) -> None:
    class Broken:
        told = 0

        def event(self, mask: int) -> None:
            raise RuntimeError("broken")

        def crashed(self) -> None:
            self.told += 1
            loop.close(ours)
            loop.later(0, loop.stop)

    ours, theirs = socket.socketpair()
    watcher = Broken()
    loop.watch(ours.fileno(), IN, watcher)
    theirs.send(b"x")
    loop.run()
    assert 1 == watcher.told
    assert -1 == ours.fileno()
