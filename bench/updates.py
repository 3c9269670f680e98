"""What the benchmarks of sessions share: guests who move their sliders, and percentiles."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence

import support
import trio

from tests.support.guests import Guest
from tests.support.server import LiveServer

SCALING = "[Scheduler]\nMinProcesses = {0}\nMaxProcesses = {0}\nMaxConnsPerProcess = {1}\n"


def prepared(server: LiveServer, app: str, processes: int) -> str:
    """Deploy an app of tests/content; give its address once all its processes serve."""
    address = server.url + server.deploy(support.ROOT / "tests" / "content" / app, "measured")
    server.until(lambda: len(server.rows("ps", state="ready")) == processes, 120.0)
    return address


async def now_and_then(guests: Iterable[Guest], *, pause: float, seconds: float) -> list[float]:
    """Let each guest move again and again, about every `pause` seconds, independently.

    Gives the seconds of each update; an update that is under way at the end is waited for.
    """
    waits: list[float] = []
    until = trio.current_time() + seconds

    async def visit(guest: Guest) -> None:
        moves = trio.current_time() + random.uniform(0, pause)
        while moves < until:
            await trio.sleep_until(moves)
            waits.append(await guest.move(seconds=60))
            moves = trio.current_time() + random.expovariate(1 / pause)

    async with trio.open_nursery() as nursery:
        for guest in guests:
            nursery.start_soon(visit, guest)
    return waits


def percentile(waits: Sequence[float], share: float) -> float:
    """Give the milliseconds that a share of the updates took at most."""
    ordered = sorted(waits)
    return ordered[int(share * (len(ordered) - 1))] * 1e3
