"""What the gateway adds to an update of a Shiny session: 20 sessions a process, 1, 2, 4 processes.

Every process has 20 sessions through the gateway and 20 that are connected to its own Unix socket.
Everybody moves the slider now and then, independently: updates of the two kinds come in a random
order to the same processes and meet the same queues. The app (tests/content/r-counts-its-visitors)
computes next to nothing. All clients are one program, so what it costs is on both sides.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Mapping
from statistics import median

import support
import trio
from updates import SCALING, now_and_then, percentile, prepared

from supervisor.layout import SOCKET_NAME
from tests.support.guests import Guests, guests
from tests.support.server import live_server

APP = "r-counts-its-visitors"
EACH = 20
GOAL = 2.0  # milliseconds at p99


async def together(
    sides: Mapping[str, Guests], *, pause: float, seconds: float
) -> dict[str, list[float]]:
    """Let everybody of all sides move now and then at the same time; give seconds by side."""
    found: dict[str, list[float]] = {}

    async def move(side: str, party: Guests) -> None:
        found[side] = await now_and_then(party, pause=pause, seconds=seconds)

    async with trio.open_nursery() as nursery:
        for side, party in sides.items():
            nursery.start_soon(move, side, party)
    return found


async def compare(processes: int, rounds: int, seconds: float, pause: float) -> list[str]:
    """Measure one number of processes; give the row of the table."""
    scaling = SCALING.format(processes, EACH)
    with live_server(extra=scaling) as server:
        address = prepared(server, APP, processes)
        async with guests([address] * EACH * processes) as party, guests() as others:
            for run in {guest.run for guest in party}:
                path = server.run_dir / "w" / run / SOCKET_NAME
                others.invite(["http://direct/"] * EACH, socket=str(path))
            await others.served(60.0)
            shares = sorted(Counter(guest.run for guest in party).values())
            if shares != [EACH] * processes:
                support.note(f"{processes} processes: sessions are shared {shares}")
            sides = {"gateway": party, "direct": others}
            waits: dict[str, list[float]] = {side: [] for side in sides}
            added: dict[float, list[float]] = {0.5: [], 0.99: []}
            for number in range(-1, rounds):
                found = await together(sides, pause=pause, seconds=seconds)
                if number < 0:  # the first one warms caches
                    continue
                for share, differences in added.items():
                    through, alone = (percentile(found[side], share) for side in sides)
                    differences.append(through - alone)
                for side in sides:
                    waits[side] += found[side]
    p50, p99 = (
        [percentile(waits[side], share) for side in ("gateway", "direct")] for share in added
    )
    verdict = "met" if median(added[0.99]) <= GOAL else "missed"
    return [
        f"{processes}",
        f"{len(waits['gateway'])} / {len(waits['direct'])}",
        f"{p50[0]:.1f} / {p50[1]:.1f}",
        support.spread(added[0.5], 1),
        f"{p99[0]:.1f} / {p99[1]:.1f}",
        support.spread(added[0.99], 1),
        verdict,
    ]


async def main(processes: list[int], rounds: int, seconds: float, pause: float) -> None:
    """Compare for each number of processes, and print the table."""
    support.need_root()
    support.machine()
    random.seed(3)
    print(
        f"{rounds} rounds of {seconds:g} s each way; each session updates about every {pause:g} s;"
    )
    print("ms through the gateway / direct; added: by round, median (least to most)\n")
    head = ["processes", "updates", "p50", "added", "p99", "added", f"at most {GOAL:g} ms"]
    support.table(head, [await compare(n, rounds, seconds, pause) for n in processes])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--pause", type=float, default=1.0)
    given = parser.parse_args()
    trio.run(main, given.processes, given.rounds, given.seconds, given.pause)
