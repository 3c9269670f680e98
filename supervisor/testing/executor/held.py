"""How long tasks hold the loop: a call that waits without trio keeps everybody else waiting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class _Steps(trio.abc.Instrument):
    def __init__(self) -> None:
        self.seconds = [0.0]
        self._begun = time.perf_counter()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._begun = time.perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.seconds.append(time.perf_counter() - self._begun)


@contextmanager
def task_steps() -> Iterator[list[float]]:
    """Give a list of the seconds, in real time, that each step of any task takes meanwhile."""
    steps = _Steps()
    trio.lowlevel.add_instrument(steps)
    try:
        yield steps.seconds
    finally:
        trio.lowlevel.remove_instrument(steps)
