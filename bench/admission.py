"""How fast visitors are admitted: 1,000 pages and WebSockets opened through the core, then closed.

Eight programs let 125 visitors come each, one after another: the page, then with its cookie the
WebSocket, which takes a seat. All thousand stay open, on four processes of 250 seats, and are then
closed in order. The app (tests/content/python-accepts-anything) does next to nothing. In turn with
that, the same visitors go straight to the processes' own sockets: what the app costs by itself.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from statistics import median

import attrs
import support
from updates import SCALING, prepared

from supervisor.layout import SOCKET_NAME
from tests.support.server import LiveServer, live_server

APP = "python-accepts-anything"
PROCESSES, SEATS = 4, 250
PROGRAMS = 8
PARTS = ("core", "gateway", "app")
_VISIT = [sys.executable, "-I", "-S", str(support.ROOT / "bench" / "websocket_load.py"), "visit"]


@attrs.frozen(kw_only=True)
class Round:
    """Seconds to open and to close all sessions, and the CPU seconds of each part for both."""

    opened: float
    closed: float
    opening: dict[str, float]
    closing: dict[str, float]


def used(server: LiveServer) -> dict[str, float]:
    """Give the CPU seconds of the parts so far."""
    core, gateway, helper = server.core, server.gateway, server.helper
    assert core is not None
    assert gateway is not None
    assert helper is not None
    apps = sum(support.tree_cpu(init) for init in support.children(helper))
    return {
        "core": support.cpu(core) / 1e9,
        "gateway": support.cpu(gateway) / 1e9,
        "app": apps / 1e9,
    }


def visited(server: LiveServer, where: Sequence[str], path: str) -> Round:
    """Let everybody come and go once; each program goes to the next of the places."""
    count = str(PROCESSES * SEATS // PROGRAMS)
    before = used(server)
    begun = time.perf_counter()
    programs = [
        subprocess.Popen(
            [*_VISIT, where[number % len(where)], path, count],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROGRAMS)
    ]
    expect(programs, "open")
    opened = time.perf_counter()
    between = used(server)
    for program in programs:
        assert program.stdin is not None
        program.stdin.write("\n")
        program.stdin.flush()
    expect(programs, "closed")
    closed = time.perf_counter()
    for program in programs:
        program.communicate(timeout=10)
    time.sleep(0.5)  # what is told about the last ones belongs to their end
    after = used(server)
    return Round(
        opened=opened - begun,
        closed=closed - opened,
        opening={part: between[part] - before[part] for part in PARTS},
        closing={part: after[part] - between[part] for part in PARTS},
    )


def expect(programs: Sequence[subprocess.Popen[str]], word: str) -> None:
    """Wait until every program has said the word."""
    for program in programs:
        assert program.stdout is not None
        said = program.stdout.readline().strip()
        if said != word:
            raise SystemExit(f"bench: a visitor said {said!r} instead of {word!r}")


def show(rounds: dict[str, list[Round]]) -> None:
    """Print the rates, and what an admission and an end cost."""
    sessions = PROCESSES * SEATS
    rows = []
    for side, found in rounds.items():
        opened = [sessions / one.opened for one in found]
        closed = [sessions / one.closed for one in found]
        rows.append([side, support.spread(opened, 0), support.spread(closed, 0)])
    support.table(["", "opened a second", "closed a second"], rows)
    ours, alone = rounds.values()
    ratios = [one.opened / other.opened for one, other in zip(ours, alone, strict=True)]
    print(f"Seconds to open all, through the server / direct: {support.spread(ratios, 2)}\n")

    print("CPU µs a session, by process:\n")
    rows = []
    for side, found in rounds.items():
        for what in ("opening", "closing"):
            costs = [getattr(one, what) for one in found]
            cells = [support.spread([c[part] / sessions * 1e6 for c in costs], 0) for part in PARTS]
            rows.append([f"{side}, {what}", *cells])
    support.table(["", *PARTS], rows)
    costs = [(one.opening["core"] + one.opening["gateway"]) / one.opening["app"] for one in ours]
    print(f"core and gateway / app, opening: {median(costs):.2f}\n")


def main(count: int) -> None:
    """Start a server, let the two sides take turns."""
    support.need_root()
    support.machine()
    # Whoever closed in order keeps the place for a moment, which the next round must not wait for.
    extra = SCALING.format(PROCESSES, 2 * SEATS)
    with live_server(extra=extra) as server:
        address = prepared(server, APP, PROCESSES)
        path = address.removeprefix(server.url)
        runs = [row["id"] for row in server.json("ps")]
        sockets = [str(server.run_dir / "w" / run / SOCKET_NAME) for run in runs]
        rounds: dict[str, list[Round]] = {"through the server": [], "direct": []}
        for number in range(-1, count):
            found = [visited(server, [str(server.port)], path), visited(server, sockets, "/")]
            if number < 0:  # the first one warms caches
                continue
            for side, one in zip(rounds, found, strict=True):
                rounds[side].append(one)
    print(f"{PROCESSES * SEATS} sessions a round, {count} rounds, median (least to most):\n")
    show(rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=6)
    main(parser.parse_args().rounds)
