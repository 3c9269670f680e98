"""Sixty Shiny sessions on three processes against sixty on one: how long an update takes.

The app (tests/content/r-works-per-update) waits 20 ms in each update, as for a query, and computes
5 ms, both on R's only thread: what a second process relieves. Two servers run at the same time, one
with room for 60 sessions on one process, one with 3 processes of 20; all 120 sessions stay open,
and the two sixties take turns. Everybody moves the slider now and then (the pauses are random), in
the second table all at once.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from statistics import median

import support
import trio
from updates import SCALING, now_and_then, percentile, prepared

from tests.support.guests import Guests, guests
from tests.support.server import live_server

APP = "r-works-per-update"
SESSIONS = 60

Moves = Callable[[Guests], Awaitable[list[float]]]


async def compare(sides: dict[str, Guests], rounds: int, moves: Moves) -> None:
    """Let the sides take turns and print their percentiles, and the ratio round by round."""
    figures: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    count: Counter[str] = Counter()
    for number in range(-1, rounds):
        for side, party in sides.items():
            waits = await moves(party)
            if number >= 0:  # the first one warms caches
                figures[side].append((percentile(waits, 0.5), percentile(waits, 0.95)))
                count[side] += len(waits)
    rows = []
    for side, found in figures.items():
        p50, p95 = ([figure[i] for figure in found] for i in (0, 1))
        rows.append([side, count[side], support.spread(p50, 0), support.spread(p95, 0)])
    support.table(["", "updates", "p50 ms", "p95 ms"], rows)
    one, three = figures.values()
    ratios = [few[1] / many[1] for many, few in zip(one, three, strict=True)]
    met = "met" if median(ratios) <= 0.5 else "missed"
    print(f"p95 on three / p95 on one: {support.spread(ratios, 2)}; goal 0.5: {met}\n")


async def main(rounds: int, seconds: float, pause: float) -> None:
    """Start both servers, fill them, compare."""
    support.need_root()
    support.machine()
    random.seed(3)
    with (
        live_server(extra=SCALING.format(1, SESSIONS)) as one,
        live_server(extra=SCALING.format(3, SESSIONS // 3)) as three,
    ):
        addresses = [prepared(one, APP, 1), prepared(three, APP, 3)]
        async with (
            guests([addresses[0]] * SESSIONS) as few,
            guests([addresses[1]] * SESSIONS) as many,
        ):
            sides = {"one process": few, "three processes": many}
            for side, party in sides.items():
                shares = sorted(Counter(guest.run for guest in party).values())
                print(f"{side}: {shares} sessions")

            print(f"\nEvery session updates about every {pause:g} s, {rounds} rounds:\n")
            await compare(
                sides, rounds, lambda party: now_and_then(party, pause=pause, seconds=seconds)
            )
            print(f"All {SESSIONS} at once, {rounds} rounds:\n")
            await compare(sides, rounds, lambda party: party.move(seconds=60))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=16.0)
    parser.add_argument("--pause", type=float, default=4.0)
    given = parser.parse_args()
    trio.run(main, given.rounds, given.seconds, given.pause)
