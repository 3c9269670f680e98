"""Backoff: pauses that double, with jitter, so that many clients do not come back as one."""

from __future__ import annotations

from random import Random

import attrs


@attrs.define(kw_only=True)
class Backoff:
    """Pauses in seconds: `first`, doubled each time up to `most`, of which 50 to 100 % is taken."""

    first: float
    most: float
    random: Random = attrs.field(factory=Random)
    _times: int = 0

    def pause(self) -> float:
        """The next pause."""
        whole = min(self.most, self.first * 2.0 ** min(self._times, 30))
        self._times += 1
        return whole * self.random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Begin with `first` again: what failed has succeeded."""
        self._times = 0
