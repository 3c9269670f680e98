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
from collections.abc import Mapping, Sequence

import support
import trio
from updates import SCALING, now_and_then, percentile, prepared

from supervisor.layout import SOCKET_NAME
from tests.support.guests import Guests, guests
from tests.support.server import live_server

APP = "r-counts-its-visitors"
EACH = 20
GOAL = 2.0  # milliseconds at p99
WARM = 5.0  # seconds that are not counted
DRAWS = 400


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


def difference(ours: Sequence[float], others: Sequence[float], share: float) -> list[float]:
    """Give by how many ms the percentile of ours is higher: least, found, most.

    Least and most hold 95 of 100 differences of updates drawn anew (bootstrap).
    """
    drawn = sorted(
        percentile(random.choices(ours, k=len(ours)), share)
        - percentile(random.choices(others, k=len(others)), share)
        for _ in range(DRAWS)
    )
    found = percentile(ours, share) - percentile(others, share)
    return [drawn[DRAWS * 25 // 1000], found, drawn[DRAWS * 975 // 1000]]


async def compare(processes: int, seconds: float, pause: float) -> list[str]:
    """Measure one number of processes; give the row of the table."""
    with live_server(extra=SCALING.format(processes, EACH)) as server:
        address = prepared(server, APP, processes)
        async with guests([address] * EACH * processes) as party, guests() as others:
            shares = Counter(guest.run for guest in party)
            if set(shares.values()) != {EACH}:
                support.note(f"{processes} processes: sessions are shared {shares}")
            for run in shares:
                path = server.run_dir / "w" / run / SOCKET_NAME
                others.invite(["http://direct/"] * EACH, socket=str(path))
            await others.served(60.0)
            sides = {"gateway": party, "direct": others}
            await together(sides, pause=pause, seconds=WARM)
            waits = await together(sides, pause=pause, seconds=seconds)
    ours, alone = waits["gateway"], waits["direct"]
    cells = [f"{processes}", f"{len(ours)} / {len(alone)}"]
    for share in (0.5, 0.99):
        least, found, most = difference(ours, alone, share)
        cells.append(f"{percentile(ours, share):.1f} / {percentile(alone, share):.1f}")
        cells.append(f"{found:.1f} ({least:.1f} to {most:.1f})")
    return [*cells, "met" if most <= GOAL else "missed" if least > GOAL else "open"]


async def main(processes: list[int], seconds: float, pause: float) -> None:
    """Compare for each number of processes, and print the table."""
    support.need_root()
    support.machine()
    random.seed(3)
    print(f"{seconds:g} s; each session updates about every {pause:g} s. ms through the gateway /")
    print("direct; added: with the range of 95 of 100 samples drawn anew\n")
    head = ["processes", "updates", "p50", "added", "p99", "added", f"at most {GOAL:g} ms"]
    support.table(head, [await compare(n, seconds, pause) for n in processes])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--processes", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--pause", type=float, default=2.0)
    given = parser.parse_args()
    trio.run(main, given.processes, given.seconds, given.pause)
