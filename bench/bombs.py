"""What a ping takes while every content takes all memory or all processes, against one in peace.

Four contents explode at once: a memory bomb and a fork bomb each at a limit of its own and at that
of all contents together. Rounds in turns: in peace; with bombs; with bombs while the server's own
processes weigh as much as anybody on a busy processor, and no more. The limit is 100 ms.
"""

from __future__ import annotations

import argparse
import time
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

import support

from tests.support.bombs import BOMBS, PLUGIN, SETTINGS, write_bomb
from tests.support.pings import Ping, Pings, quantile
from tests.support.server import LiveServer, live_server

LIMIT = 0.1  # seconds
_PEACE = 4.0  # seconds of a round without bombs
_OVER = 120.0  # seconds within which bombs must have ended
_USUAL = {"cpu.weight": "100", "cpu.shares": "1024"}


def get(server: LiveServer, path: str) -> int:
    """Give the status of an answer, 0 for none."""
    try:
        with urllib.request.urlopen(f"{server.url}{path}", timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def failures(server: LiveServer, name: str) -> int:
    """Give how many serving processes of a content have ended by themselves."""
    runs = server.json("ps", name, "--all")
    return sum(run["purpose"] == "serve" and run["state"] == "failed" for run in runs)


def arm(server: LiveServer, paths: dict[str, str]) -> dict[str, int]:
    """Have all bombs run anew; give how often each has exploded before."""
    for name, path in paths.items():
        server.supervisor("restart", name)
        server.until(lambda path=path: get(server, path) == 200, _OVER, name)  # type: ignore[misc]
    return {name: failures(server, name) for name in paths}


def explode(server: LiveServer, paths: dict[str, str], before: dict[str, int]) -> None:
    """Let all bombs explode, and return when all have ended."""
    for path in paths.values():
        get(server, f"{path}explode")
    for name in paths:
        ended: Callable[[], bool] = lambda name=name: failures(server, name) > before[name]  # type: ignore[misc]  # noqa: E731
        server.until(ended, _OVER, name)


def weight_file(server: LiveServer) -> Path | None:
    """Give the file with the weight of the server's own processes, where they have one."""
    for line in Path(f"/proc/{server.gateway}/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        for top, name in (("cpu", "cpu.shares"), ("unified", "cpu.weight"), ("", "cpu.weight")):
            file = Path("/sys/fs/cgroup", top, path.lstrip("/"), name)
            if path.endswith("server") and top in (names, "unified", "") and file.exists():
                return file
    return None


@contextmanager
def weighing(file: Path, value: str) -> Iterator[None]:
    """The server's own processes weigh so much meanwhile."""
    before = file.read_text()
    file.write_text(value)
    try:
        yield
    finally:
        file.write_text(before)


def row(what: str, rounds: list[list[Ping]]) -> tuple[object, ...]:
    """Give the line of a table for some rounds."""
    every = sorted(ping.taken for pings in rounds for ping in pings)
    waits = sorted(ping.server for pings in rounds for ping in pings)
    longest = [max(ping.taken for ping in pings) for pings in rounds]
    parts = [f"{quantile(every, part) * 1e3:.1f}" for part in (0.5, 0.95, 0.99)]
    return (
        what,
        len(every),
        *parts,
        support.spread([one * 1e3 for one in longest]),
        f"{max(longest) / LIMIT:.2f}",
        sum(one > LIMIT for one in every),
        f"{waits[-1] * 1e3:.1f}",
        f"{max(ping.client for pings in rounds for ping in pings) * 1e3:.1f}",
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    count = parser.parse_args().rounds
    support.need_root()
    support.machine()
    found: dict[str, list[list[Ping]]] = defaultdict(list)
    with live_server(plugins={"plain": PLUGIN}, extra=SETTINGS) as server:
        for name, (explosion, limit) in BOMBS.items():
            server.deploy(write_bomb(server.base / name, explosion), name)
            server.supervisor("set", name, limit)
        paths = {name: server.path(name) for name in BOMBS}
        file = weight_file(server)
        assert server.gateway is not None
        for number in range(count):
            support.note(f"round {number + 1} of {count}")
            before = arm(server, paths)
            with Pings(server.port, server.gateway) as pings:
                time.sleep(_PEACE)
            found["in peace"].append(pings.all)
            with Pings(server.port, server.gateway) as pings:
                explode(server, paths, before)
            found["bombs"].append(pings.all)
            if file is None:
                continue
            before = arm(server, paths)
            with weighing(file, _USUAL[file.name]), Pings(server.port, server.gateway) as pings:
                explode(server, paths, before)
            found["bombs, the weight of anybody"].append(pings.all)
    head = ("", "pings", "ms: p50", "p95", "p99", "longest of a round: median (least to most)")
    more = ("longest / 100 ms", "over it", "gateway waited, at most", "client waited, at most")
    support.table((*head, *more), [row(what, rounds) for what, rounds in found.items()])
    peace, bombs = (
        median(quantile(sorted(ping.taken for ping in one), 0.95) for one in found[what])
        for what in ("in peace", "bombs")
    )
    print(f"p95 of a round, bombs against peace, medians: {bombs / peace:.1f}")


if __name__ == "__main__":
    main()
