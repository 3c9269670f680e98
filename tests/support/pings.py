"""Ask a gateway again and again, from a process of its own, and note what each answer took.

`with Pings(port, pid) as pings:` asks until its end; `pings.taken` holds the answers then. The
asking process has real-time priority where it may, so that it does not measure its own waits.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

PAUSE = 0.01  # seconds between an answer and the next question
PATIENCE = 10.0
_QUESTION = b"GET /__ping__ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Ping:
    """One answer, in seconds: in all, and for how long the two sides waited for a processor.

    A wait counts where it ends while the answer is awaited. In all is infinite for a wrong answer.
    """

    taken: float
    server: float
    client: float


class Pings:
    """Those of one stretch of time. pid: the gateway's."""

    def __init__(self, port: int, pid: int) -> None:
        self.all: list[Ping] = []
        self._command = [sys.executable, __file__, str(port), str(pid)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Pings:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True)
        assert self._process.stdout is not None
        assert "ready\n" == self._process.stdout.readline()
        return self

    def __exit__(self, *raised: object) -> None:
        assert self._process is not None
        told, _ = self._process.communicate(timeout=2 * PATIENCE)
        self.all = [Ping(*line) for line in json.loads(told)]

    @property
    def taken(self) -> list[float]:
        """What each took, in seconds, the shortest first."""
        return sorted(ping.taken for ping in self.all)


def quantile(ordered: Sequence[float], part: float) -> float:
    """Give the value that this part of them does not exceed."""
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


def _waited(fd: int) -> float:
    """How long a process has waited for a processor since its start, in seconds."""
    try:
        return int(os.pread(fd, 100, 0).split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _ask(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as sock:
            sock.sendall(_QUESTION)
            return sock.recv(4096).split()[1] == b"200"
    except (OSError, IndexError):
        return False


def _main(port: int, pid: int) -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    server, client = (os.open(f"/proc/{one}/schedstat", os.O_RDONLY) for one in (pid, os.getpid()))
    found = []
    print("ready", flush=True)
    while not select.select([0], [], [], PAUSE)[0]:
        before = _waited(server), _waited(client)
        begun = time.perf_counter()
        answered = _ask(port)
        taken = time.perf_counter() - begun if answered else float("inf")
        found.append((taken, _waited(server) - before[0], _waited(client) - before[1]))
    print(json.dumps(found))


if __name__ == "__main__":
    _main(int(sys.argv[1]), int(sys.argv[2]))
