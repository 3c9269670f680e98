"""Pure choices: which worker, whether to start one, how long to wait, when to give up."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from supervisor.model import RunId, Scaling

GIVE_UP_AFTER = 5  # failed starts in a row
SHORT_LIFE = 10.0  # seconds; a worker that dies sooner after it was ready counts as a failed start
FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
JITTER = 0.25


@attrs.frozen(kw_only=True)
class Load:
    """What a choice knows of one worker. idle: seconds since it last had a session or a request."""

    run: RunId
    ready: bool
    sessions: int = 0
    requests: int = 0
    idle: float = 0.0


def choose(loads: Sequence[Load]) -> RunId | None:
    """Give the ready worker with the fewest sessions (then requests, then the oldest), or None."""
    ready = [load for load in loads if load.ready]
    if not ready:
        return None
    return min(ready, key=lambda load: (load.sessions, load.requests, load.run)).run


def missing(scaling: Scaling, loads: Sequence[Load], *, demand: bool) -> int:
    """Give how many workers to start now. loads: those that start or serve, none that drains.

    One for a visitor who waits, the least number always, one more where the load factor says so.
    """
    live = len(loads)
    wanted = max(scaling.least, 1 if demand else 0)
    ready = [load for load in loads if load.ready]
    if ready and len(ready) == live:
        sessions = sum(load.sessions for load in ready)
        if sessions and sessions >= scaling.load_factor * scaling.sessions_each * live:
            wanted = max(wanted, live + 1)
    return max(0, min(wanted, scaling.most) - live)


def surplus(scaling: Scaling, loads: Sequence[Load]) -> Sequence[RunId]:
    """Give the workers that have been idle for too long, never below the least number."""
    if scaling.idle <= 0:
        return ()
    idle = [
        load
        for load in loads
        if load.ready and not load.sessions and not load.requests and load.idle >= scaling.idle
    ]
    idle.sort(key=lambda load: -load.idle)
    return [load.run for load in idle[: max(0, len(loads) - scaling.least)]]


def delay(failures: int, dice: float) -> float:
    """Give the seconds to wait after this many failed starts in a row; dice is in [0, 1).

    Doubles from FIRST_DELAY to LONGEST_DELAY, give or take JITTER of it, so that contents which
    broke together do not start again together.
    """
    if failures <= 0:
        return 0.0
    base = min(LONGEST_DELAY, FIRST_DELAY * 2.0 ** min(failures - 1, 16))
    return base * (1.0 - JITTER + 2.0 * JITTER * dice)


def gives_up(failures: int) -> bool:
    """Tell whether to stop trying until a person asks again."""
    return failures >= GIVE_UP_AFTER
