"""Cold start of an R and a Python Shiny app to the first byte: through the server, and by hand.

Through the server: the app is stopped, a visitor asks for `/`, the gateway holds the request until
the worker is ready. By hand: the very command of the runtime's plan, outside any sandbox, on a Unix
socket that is tried every 2 ms. They take turns. CPU counts every process: parent, core, gateway,
helper, init and content on one side, the command and its children on the other.
"""

from __future__ import annotations

import argparse
import socket
import time
from collections.abc import Callable
from statistics import median

import support
import trio
from supervisor_python.installations import probe as probe_python
from supervisor_python.runtime import PythonRuntime
from supervisor_r.runtime import RRuntime

from supervisor import Plan, Purpose
from tests.support.server import CONTENT_PYTHON, LiveServer, live_server
from tests.support.serving import plan_for, served

EXAMPLES = support.ROOT / "examples"
APPS = {"R": "shiny-r-hello", "Python": "shiny-python-core"}
PARTS = ("content", "init", "core", "helper", "zygote", "gateway", "parent")
REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\nConnection: close\r\n\r\n"
_PATIENCE = 60.0


def plan(kind: str) -> Plan:
    """Give the plan that the runtime makes on this machine."""
    if kind == "R":
        r = RRuntime()
        return plan_for(r, r.installations({})[0], purpose=Purpose.SERVE)
    found = probe_python(str(CONTENT_PYTHON / "bin" / "python"))
    if found is None:
        raise SystemExit(f"bench: {CONTENT_PYTHON} is not there; ./dev test makes it")
    return plan_for(PythonRuntime(), found, purpose=Purpose.SERVE)


def first_byte(sock: socket.socket, path: str) -> None:
    """Ask, and return with the first byte of a right answer."""
    sock.settimeout(_PATIENCE)
    sock.sendall(REQUEST % path.encode())
    answer = sock.recv(65536)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise SystemExit(f"bench: {path} answered {answer[:200]!r}")


async def by_hand(kind: str) -> tuple[float, float]:
    """Run the command; give wall and CPU seconds to the first byte."""
    begun = time.perf_counter()
    async with served(plan(kind), EXAMPLES / APPS[kind]) as app:
        begun_process = time.perf_counter()
        while True:
            with socket.socket(socket.AF_UNIX) as sock:
                try:
                    sock.connect(str(app.socket))
                except OSError:
                    if time.perf_counter() - begun > _PATIENCE:
                        raise SystemExit(f"bench: by hand it never listened:\n{app.log}") from None
                    await trio.sleep(0.002)
                    continue
                first_byte(sock, "/")
            break
        wall = time.perf_counter() - begun_process
        used = support.tree_cpu(app.process.pid) / 1e9
    return wall, used


class Books:
    """The CPU of each of the server's processes, and of the content beneath the helper."""

    def __init__(self, server: LiveServer) -> None:
        self._pids = {
            "parent": server.parent,
            "core": server.core,
            "gateway": server.gateway,
            "helper": server.helper,
        }

    @property
    def helper(self) -> int:
        """The pid of the helper."""
        assert self._pids["helper"] is not None
        return self._pids["helper"]

    @property
    def inits(self) -> list[int]:
        """The inits of runs, not those that wait for one."""
        return [pid for pid in support.children(self.helper) if support.name(pid) == "content-init"]

    def read(self) -> dict[str, float]:
        """Give seconds by part. The one run there may be counts as init and content."""
        found = dict.fromkeys(PARTS, 0.0)
        for name, pid in self._pids.items():
            assert pid is not None
            found[name] = support.cpu(pid) / 1e9
        for pid in support.children(self.helper):
            if support.name(pid) == "content-zygote":
                found["zygote"] += support.cpu(pid) / 1e9
        for init in self.inits:  # what it has cost to make it ahead counts too
            found["init"] += support.cpu(init) / 1e9
            for main in support.children(init):
                found["content"] += support.tree_cpu(main) / 1e9
        return found


def through_server(
    server: LiveServer, books: Books, name: str, path: str
) -> tuple[float, dict[str, float]]:
    """Stop the app, visit it; give wall seconds and CPU seconds by part to the first byte."""
    stop_all(server, books)
    time.sleep(0.3)  # what follows a stop is not part of a start
    before = books.read()
    begun = time.perf_counter()
    with socket.create_connection(("127.0.0.1", server.port)) as sock:
        first_byte(sock, path)
    wall = time.perf_counter() - begun
    after = books.read()
    return wall, {part: after[part] - before[part] for part in PARTS}


def stop_all(server: LiveServer, books: Books) -> None:
    """End every run and wait until nothing is left of them."""
    for row in server.json("ps"):
        server.supervisor("stop", row["id"])
    _until(lambda: not books.inits, "nothing of the last run is left")


def _until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + _PATIENCE
    while not true():
        if time.monotonic() > end:
            raise SystemExit(f"bench: waited in vain until {what}")
        time.sleep(0.02)


async def compare(server: LiveServer, books: Books, kind: str, rounds: int) -> None:
    """Let both sides take turns and print the differences."""
    name = f"{kind}-app".lower()
    path = server.deploy(EXAMPLES / APPS[kind], name)
    plan(kind)  # probing the interpreter is not part of either side
    hand: list[tuple[float, float]] = []
    ours: list[tuple[float, dict[str, float]]] = []
    for number in range(-1, rounds):
        by, through = await by_hand(kind), through_server(server, books, name, path)
        if number >= 0:  # the first one warms caches
            hand.append(by)
            ours.append(through)
    stop_all(server, books)
    totals = [sum(parts.values()) for _, parts in ours]
    more = [total - used for total, (_, used) in zip(totals, hand, strict=True)]
    longer = [wall - alone for (wall, _), (alone, _) in zip(ours, hand, strict=True)]

    def milliseconds(values: list[float]) -> str:
        return support.spread([value * 1e3 for value in values], 0)

    print(f"{kind} ({APPS[kind]}), {rounds} rounds, milliseconds: median (least to most)\n")
    rows = [
        ["by hand", milliseconds([u for _, u in hand]), milliseconds([w for w, _ in hand])],
        ["through the server", milliseconds(totals), milliseconds([wall for wall, _ in ours])],
        ["difference", milliseconds(more), milliseconds(longer)],
    ]
    support.table(["", "CPU", "wall"], rows)
    least = (min(totals) - min(used for _, used in hand)) * 1e3
    print(f"least CPU through the server less least by hand: {least:.0f} ms\n")
    shares = [
        [f"{median([parts[part] for _, parts in ours]) * 1e3:.1f}" for part in PARTS],
    ]
    print("CPU through the server by process, medians:\n")
    support.table(PARTS, shares)


async def main(rounds: int, kinds: list[str]) -> None:
    """Start a server and compare."""
    support.need_root()
    support.machine()
    with live_server() as server:
        for kind in kinds:
            await compare(server, Books(server), kind, rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", choices=[*APPS], action="append")
    given = parser.parse_args()
    trio.run(main, given.rounds, given.only or [*APPS])
