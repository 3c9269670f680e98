"""Kill and stop parts of a server at random while sessions are open; everybody is served again.

Each round hits one of parent, helper, core, gateway, a run's first process or the app itself, with
SIGKILL or with SIGSTOP for a while. Afterwards every visitor must have an answer within 5 s, no run
may have been started twice, nothing may be left over, and no seat be stuck. A seed gives the same
faults again.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from itertools import islice
from statistics import median

import support
import trio

from tests.support.chaos import LIMIT, chaos, faults


async def rounds(count: int, seed: int, visitors: int, limit: float, keep_going: bool) -> int:
    """Run the rounds and print a table; give how many failed."""
    waits: dict[tuple[str, str], list[float]] = defaultdict(list)
    failed = 0
    async with chaos(visitors, limit=limit) as one:
        for fault in islice(faults(seed), count):
            kind = (fault.victim, "stopped" if fault.stop else "killed")
            try:
                waits[kind].append(await one.round(fault))
                support.note(one.history[-1])
            except AssertionError as error:
                failed += 1
                support.note(f"seed {seed}: {error}")
                if not keep_going:
                    break
        else:
            await one.end()
    rows = [
        (victim, what, len(found), f"{median(found):.2f}", f"{max(found):.2f}")
        for (victim, what), found in sorted(waits.items())
        if found
    ]
    support.table(("victim", "", "rounds", "served again, median s", "longest s"), rows)
    done = sum(map(len, waits.values()))
    print(f"{done} of {count} rounds passed, {failed} failed; seed {seed}, {visitors} visitors")
    return failed


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--visitors", type=int, default=30)
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds to be served again")
    parser.add_argument("--keep-going", action="store_true", help="after a round that failed, too")
    given = parser.parse_args()
    support.need_root()
    support.machine()
    failed = trio.run(
        rounds, given.rounds, given.seed, given.visitors, given.limit, given.keep_going
    )
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
