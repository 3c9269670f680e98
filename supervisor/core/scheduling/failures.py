"""How often a content has failed to start, why, and when it may be tried again."""

from __future__ import annotations

import random

import attrs
import trio

from supervisor import policy
from supervisor.core.scheduling.verdict import Failure

RETRY_EACH = 10.0  # seconds between two tries that visitors may ask for


@attrs.define(eq=False)
class Failures:
    """Failed starts in a row of one content. last: the newest one, None while it works."""

    count: int = 0
    last: Failure | None = None
    _passing: int = 0
    _asked_at: float = float("-inf")
    _dice: random.Random = attrs.field(factory=random.Random)

    def note(self, failure: Failure, *, at_once: bool = False) -> None:
        """Note a failed start, and when the next one may be; never give up what is passing."""
        passing = failure.passing
        if passing:
            self._passing += 1
        else:
            self.count, self._passing = self.count + 1, 0
        failures = self._passing if passing else self.count
        wait = 0.0 if at_once else policy.delay(failures, self._dice.random(), passing=passing)
        if not passing and policy.gives_up(self.count):
            self.last = attrs.evolve(failure, code="gave-up", retry_at=None)
        else:
            self.last = attrs.evolve(failure, retry_at=trio.current_time() + wait)

    def works(self) -> None:
        """Learn that a process is ready; the count stays until it has served for a while."""
        self._passing, self.last = 0, None

    def forget(self) -> None:
        """Begin anew."""
        self.count, self._passing, self.last = 0, 0, None

    def try_again(self) -> bool:
        """Let a visitor have it tried now; False where one did so a moment ago."""
        now = trio.current_time()
        if self.last is None or now - self._asked_at < RETRY_EACH:
            return False
        self._asked_at = now
        # One more try, not five: what was broken most likely still is.
        self.count = min(self.count, policy.GIVE_UP_AFTER - 1)
        self.last = attrs.evolve(self.last, retry_at=now)
        return True

    @property
    def retry_at(self) -> float:
        """trio's time from which it may be started."""
        if self.last is None:
            return float("-inf")
        return float("inf") if self.last.retry_at is None else self.last.retry_at
