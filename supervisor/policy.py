"""Pure choices: which worker, whether to start one, how long to wait, when to give up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from supervisor.model import RunId, Scaling

GIVE_UP_AFTER = 5  # failed starts in a row
SHORT_LIFE = 10.0  # seconds; a worker that dies sooner after it was ready counts as a failed start
FIRST_DELAY = 1.0
FIRST_PASSING = 0.1
LONGEST_DELAY = 60.0
JITTER = 0.25

FOREVER = float("inf")


@attrs.frozen(kw_only=True)
class Load:
    """What a choice knows of one worker.

    taken: seats that nobody else may have; held: those of sessions, open or kept for lost clients;
    idle: seconds since it last had a session or a request; busy: it computes and answers nobody.
    """

    run: RunId
    ready: bool
    taken: int = 0
    held: int = 0
    requests: int = 0
    idle: float = 0.0
    busy: bool = False


def choose(scaling: Scaling, loads: Sequence[Load], *, coming: bool = False) -> RunId | None:
    """Give the ready worker with room that has the fewest seats taken, or None.

    Then the fewest requests, then the oldest. One that computes is chosen only where no other has
    room and none is `coming`: is being started, or may be.
    """
    room = [load for load in loads if load.ready and load.taken < scaling.sessions_each]
    free = [load for load in room if not load.busy]
    if not free and (coming or not room):
        return None
    return min(free or room, key=lambda load: (load.taken, load.requests, load.run)).run


def missing(
    scaling: Scaling, loads: Sequence[Load], *, demand: bool = False, waiting: int = 0
) -> int:
    """Give how many workers to start now. loads: those that start or serve, none that drains.

    The least number always; one for a visitor who asks; enough for all who wait in line; one more
    where the load factor says so and none is on its way.
    """
    live = len(loads)
    wanted = max(scaling.least, 1 if demand else 0)
    short = waiting - sum(seats(scaling, load) for load in loads)
    if short > 0:
        wanted = max(wanted, live + math.ceil(short / scaling.sessions_each))
    if live and all(load.ready for load in loads):
        held = sum(load.held for load in loads)  # not reservations: those may be a crawler's
        if held and held >= scaling.load_factor * scaling.sessions_each * live:
            wanted = max(wanted, live + 1)
    return max(0, min(wanted, scaling.most) - live)


def seats(scaling: Scaling, load: Load) -> int:
    """Give how many visitors in line a worker can take, now or once it is ready."""
    return 0 if load.busy else max(0, scaling.sessions_each - load.taken)


def surplus(scaling: Scaling, loads: Sequence[Load]) -> Sequence[RunId]:
    """Give the workers that have been idle for too long, never below what is needed."""
    idle = sorted(_idle(scaling, loads), key=lambda load: -load.idle)
    over = [load for load in idle if load.idle >= scaling.idle]
    return [load.run for load in over[: max(0, len(loads) - _needed(scaling, loads))]]


def excess(scaling: Scaling, loads: Sequence[Load]) -> Sequence[RunId]:
    """Give the workers over the greatest number, which drain: those with the fewest sessions."""
    order = sorted(loads, key=lambda load: (load.ready, load.held, load.requests, -load.idle))
    return [load.run for load in order[: max(0, len(loads) - scaling.most)]]


def idle_in(scaling: Scaling, loads: Sequence[Load]) -> float:
    """Give the seconds until `surplus` may name a worker; infinity where it will not."""
    if len(loads) <= _needed(scaling, loads):
        return FOREVER
    return min((scaling.idle - load.idle for load in _idle(scaling, loads)), default=FOREVER)


def _needed(scaling: Scaling, loads: Sequence[Load]) -> int:
    """Give how many workers stay, idle or not: `missing` would start another at once for one less.

    Without this the last spare worker would end and start again each IdleTimeout.
    """
    held, needed = sum(load.held for load in loads), scaling.least
    seats_each = scaling.load_factor * scaling.sessions_each
    while held and needed < scaling.most and held >= seats_each * needed:
        needed += 1
    return needed


def _idle(scaling: Scaling, loads: Sequence[Load]) -> list[Load]:
    if scaling.idle <= 0:
        return []
    return [load for load in loads if load.ready and not load.taken and not load.requests]


def delay(failures: int, dice: float, *, passing: bool = False) -> float:
    """Give the seconds to wait after this many failed starts in a row; dice is in [0, 1).

    Doubles from FIRST_DELAY to LONGEST_DELAY, give or take JITTER of it, so that contents which
    broke together do not start again together. passing: the reason will mend by itself, so look
    sooner.
    """
    if failures <= 0:
        return 0.0
    first = FIRST_PASSING if passing else FIRST_DELAY
    base = min(LONGEST_DELAY, first * 2.0 ** min(failures - 1, 16))
    return base * (1.0 - JITTER + 2.0 * JITTER * dice)


def gives_up(failures: int) -> bool:
    """Tell whether to stop trying until a person asks again."""
    return failures >= GIVE_UP_AFTER
