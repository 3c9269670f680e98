"""One session computes for 15 s in R, and a second visitor comes: how long until its first value?

Against a cold start of the same app, in turns: each round begins without a process.
"""

from __future__ import annotations

import argparse
from statistics import median

import support
import trio

from tests.support import computing
from tests.support.server import live_server


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    support.need_root()
    support.machine()
    with live_server(extra=computing.SCALING) as server:
        url = computing.deploy(server)
        found = [trio.run(computing.waits, server, url) for _ in range(rounds)]
    cold, second = [one.cold for one in found], [one.busy for one in found]
    support.table(
        ("first value", "s, median (least to largest)"),
        (
            ("cold start", support.spread(cold, 2)),
            ("second visitor while the first computes for 15 s", support.spread(second, 2)),
            ("ratio of the medians", f"{median(second) / median(cold):.2f}"),
        ),
    )


if __name__ == "__main__":
    main()
