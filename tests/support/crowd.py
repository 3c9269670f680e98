"""Many Shiny sessions at once, and how long each waited. `python -m tests.support.crowd URL ...`"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import trio

from tests.support.shiny_client import Visitor


@attrs.frozen(kw_only=True)
class Visit:
    """How one visitor fared, in seconds. error is "" where all went well."""

    opened: float = 0.0
    first: float = 0.0
    updates: tuple[float, ...] = ()
    error: str = ""


async def crowd(
    url: str,
    visitors: int,
    *,
    output: str,
    inputs: Mapping[str, Any],
    updates: Sequence[Mapping[str, Any]] = (),
    socket: str | None = None,
    hold: float = 0.0,
    patience: float = 60.0,
) -> list[Visit]:
    """Let `visitors` open a session each at the same time, see a value, update, and stay `hold`."""
    visits: list[Visit] = []

    async def visit() -> None:
        start = time.perf_counter()
        try:
            with trio.fail_after(patience + hold):
                async with Visitor(url, socket=socket).session([output], inputs) as session:
                    opened = time.perf_counter() - start
                    await session.value(output)
                    first = time.perf_counter() - start
                    waits = []
                    for update in updates:
                        moved = time.perf_counter()
                        await session.update(**update)
                        await session.value(output)
                        waits.append(time.perf_counter() - moved)
                    await trio.sleep(hold)
            visits.append(Visit(opened=opened, first=first, updates=tuple(waits)))
        except Exception as error:
            visits.append(Visit(error=f"{type(error).__name__}: {error}"))

    async with trio.open_nursery() as nursery:
        for _ in range(visitors):
            nursery.start_soon(visit)
    return visits


def summary(visits: Sequence[Visit]) -> dict[str, Any]:
    """Give counts, and medians and 95th percentiles in seconds."""
    good = [visit for visit in visits if not visit.error]
    updates = [seconds for visit in good for seconds in visit.updates]
    return {
        "visitors": len(visits),
        "failed": len(visits) - len(good),
        "first": _spread([visit.first for visit in good]),
        "update": _spread(updates),
        "errors": sorted({visit.error for visit in visits if visit.error})[:3],
    }


def _spread(seconds: Sequence[float]) -> dict[str, float]:
    if not seconds:
        return {}
    ordered = sorted(seconds)
    return {
        "p50": round(statistics.median(ordered), 4),
        "p95": round(ordered[int(0.95 * (len(ordered) - 1))], 4),
    }


def main() -> None:
    """Run a crowd from the command line and print its summary as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("visitors", type=int)
    parser.add_argument("output")
    parser.add_argument("inputs", type=json.loads, help="JSON object")
    parser.add_argument("updates", type=json.loads, nargs="*", help="JSON objects, one an update")
    parser.add_argument("--socket")
    parser.add_argument("--hold", type=float, default=0.0)
    given = parser.parse_args()

    async def run() -> list[Visit]:
        return await crowd(
            given.url,
            given.visitors,
            output=given.output,
            inputs=given.inputs,
            updates=given.updates,
            socket=given.socket,
            hold=given.hold,
        )

    start = time.perf_counter()
    visits = trio.run(run)
    print(json.dumps({**summary(visits), "wall": round(time.perf_counter() - start, 3)}))


if __name__ == "__main__":
    main()
