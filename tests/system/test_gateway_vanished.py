"""A client whose network is gone, without a word, does not keep its seat."""

from __future__ import annotations

import ipaddress
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.gateway_world import Wire, World, request

pytestmark = pytest.mark.system
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: a2V5")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
CLIENT = """
import socket, sys
address, port = sys.stdin.readline().split()
socks = []
for line in sys.stdin:
    if not line.strip():
        break
    sock = socket.create_connection((address, int(port)), 10)
    sock.sendall(bytes.fromhex(line))
    assert b" 101 " in sock.recv(65536)
    socks.append(sock)
print("open", flush=True)
sys.stdin.read()
"""


class Elsewhere:
    """A process in a network of its own, joined to ours by one cable.

    The addresses are of the net for benchmarks, which nobody else has, and follow its pid like
    the cable's name: whoever runs the same test beside it has others.
    """

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-I", "-c", CLIENT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._cable = f"gw{self.process.pid}"
        net = ipaddress.ip_network("198.18.0.0/15")
        first = self.process.pid * 4 % net.num_addresses
        self.ours, self.theirs = str(net[first + 1]), str(net[first + 2])
        while os.readlink(f"/proc/{self.process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)
        peer = ["peer", "name", "far", "netns", str(self.process.pid)]
        _ip("link", "add", self._cable, "type", "veth", *peer)
        _ip("addr", "add", f"{self.ours}/30", "dev", self._cable)
        _ip("link", "set", self._cable, "up")
        self.ip("addr", "add", f"{self.theirs}/30", "dev", "far")
        self.ip("link", "set", "far", "up")

    def ip(self, *words: str) -> None:
        """Run ip over there."""
        _ip(*words, enter=["nsenter", "--net", "-t", str(self.process.pid)])

    def open(self, port: int, *requests: bytes) -> None:
        """Open a WebSocket by each request, and hold them."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        lines = [f"{self.ours} {port}", *(one.hex() for one in requests), "", ""]
        self.process.stdin.write("\n".join(lines))
        self.process.stdin.flush()
        assert "open\n" == self.process.stdout.readline()

    def close(self) -> None:
        """Take the cable away and end the process, which may have ended and taken it along."""
        if os.path.exists(f"/sys/class/net/{self._cable}"):
            _ip("link", "del", self._cable)
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()


def _ip(*words: str, enter: list[str] | None = None) -> None:
    subprocess.run([*(enter or []), "ip", *words], check=True, timeout=10)


@pytest.fixture
def elsewhere(needs: Any) -> Iterator[Elsewhere]:
    needs.root()
    for program in ("ip", "unshare", "nsenter"):
        needs.program(program)
    alone = subprocess.run(["unshare", "--net", "true"], capture_output=True, check=False)
    needs.kernel(alone.returncode == 0, "network namespaces")
    elsewhere = Elsewhere()
    yield elsewhere
    elsewhere.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    world.core.start()
    yield world
    world.close()


def quiet(sock: socket.socket) -> None:
    """Say nothing, and do not notice an end either: like R that computes."""
    Wire.read_until(sock, b"\r\n\r\n")
    sock.sendall(SWITCH)
    time.sleep(120)


def busy(sock: socket.socket) -> None:
    """Send a message ten times a second: some of it is always unacknowledged."""
    Wire.read_until(sock, b"\r\n\r\n")
    sock.sendall(SWITCH)
    for _ in range(1200):
        sock.sendall(b"\x81\x05hello")
        time.sleep(0.1)


def test_a_client_that_vanishes_leaves_its_seat_within_45_seconds(
    world: World, elsewhere: Elsewhere
) -> None:
    world.worker(quiet, run="01quiet")
    world.worker(busy, run="02busy")
    world.core.decide = lambda message: {"as": "worker", "run": message["run"]}
    port = world.start(elsewhere.ours).port
    elsewhere.open(
        port,
        request(world.root, world.pin("01quiet"), *UPGRADE),
        request(world.root, world.pin("02busy"), *UPGRADE),
    )
    seats = {message["seat"] for message in world.core.kinds("resolve")}
    assert (2, {}) == (len(seats), world.core.left())
    started = time.monotonic()
    elsewhere.ip("link", "set", "far", "down")
    world.core.until(lambda message: world.core.left().keys() == seats, 45)
    assert time.monotonic() - started > 10  # not by some error of the cable
    assert {False} == set(world.core.left().values())
