"""Workers on other machines: an address, a secret, and what is told of one that is away."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from supervisor.gateway.dial import Dial
from supervisor.gateway.loop import Loop
from supervisor.log import Log

World = Any  # the fixtures of conftest.py
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: a2V5")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


class Remote:
    """What stands before a process elsewhere: closes on another secret, else serves."""

    def __init__(self, serve: Callable[[socket.socket], None], host: str = "127.0.0.1") -> None:
        self.lines: list[bytes] = []
        self._serve = serve
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.socket(family)
        self.listener.bind((host, 0))
        self.listener.listen(8)
        self.address = [*self.listener.getsockname()[:2]]
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(sock,), daemon=True).start()

    def _one(self, sock: socket.socket) -> None:
        with sock:
            line = b""
            while not line.endswith(b"\n"):
                line += sock.recv(1)
            self.lines.append(line)
            if line == b"supervisor s3cret\n":
                self._serve(sock)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


@pytest.fixture
def remote(wire: Any) -> Iterator[Callable[..., Remote]]:
    """Make remotes that answer requests and echo what follows an upgrade."""
    made: list[Remote] = []

    def serve(sock: socket.socket) -> None:
        for head, _ in wire.requests(sock):
            if b"Upgrade: websocket" in head:
                sock.sendall(SWITCH)
                while data := sock.recv(65536):
                    sock.sendall(data)
                return
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nremote")

    def make(host: str = "127.0.0.1") -> Remote:
        made.append(Remote(serve, host))
        return made[-1]

    yield make
    for each in made:
        each.close()


def named(world: World, address: list[Any], secret: str | None = "s3cret") -> None:
    """Let the core name a worker by its address, to a gateway that may know it already."""
    world.core.facts["01run"] = {"address": address, "secret": secret}
    if world.core.workers:
        world.core._send_worker("01run")
    else:
        world.worker()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_remote_worker_is_told_the_secret_and_then_the_request(
    world: World, remote: Callable[..., Remote], host: str
) -> None:
    there = remote(host)
    named(world, there.address)
    for _ in range(2):
        answer = world.gateway.get(world.root, world.pin())
        assert (200, b"remote") == (answer.status, answer.body)
    assert [b"supervisor s3cret\n"] * 2 == there.lines


def test_a_websocket_goes_through_to_a_remote_worker(
    world: World, wire: Any, remote: Callable[..., Remote]
) -> None:
    named(world, remote().address)
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), *UPGRADE))
        assert 101 == wire.Answer(sock).status
        data = bytes(range(256)) * 1000
        sock.sendall(data)
        assert data == wire.read_exactly(sock, len(data))


def unreachable(world: World) -> str:
    reason = world.core.until(lambda message: message["type"] == "unreachable")["reason"]
    assert isinstance(reason, str)
    return reason


def test_a_remote_that_hangs_up_is_reported(world: World, remote: Callable[..., Remote]) -> None:
    named(world, remote().address, "another")
    answer = world.gateway.get(world.root, world.pin())
    assert 502 == answer.status
    assert b"remote" not in answer.body
    assert "the connection ended before an answer came" == unreachable(world)


def test_a_remote_where_nobody_listens_is_reported(world: World) -> None:
    named(world, ["127.0.0.1", 1])
    assert 502 == world.gateway.get(world.root, world.pin()).status
    assert "connecting failed: Connection refused" == unreachable(world)


def test_the_next_connection_goes_to_the_address_that_was_named_last(
    world: World, remote: Callable[..., Remote]
) -> None:
    one, two = remote(), remote()
    named(world, one.address)
    assert 200 == world.gateway.get(world.root, world.pin()).status
    named(world, two.address)
    deadline = time.monotonic() + 10
    while not two.lines and time.monotonic() < deadline:
        assert 200 == world.gateway.get(world.root, world.pin()).status
    assert [b"supervisor s3cret\n"] == two.lines


@pytest.mark.parametrize(
    ("address", "secret", "reason"),
    [
        (["localhost", 80], None, "is not an address in numbers"),
        (["127.0.0.1", 0], None, "is not a port"),
        (["127.0.0.1", 80], "a\nb", "not one word"),
        (["127.0.0.1", 80], "a b", "not one word"),
    ],
)
def test_an_address_or_a_secret_that_is_none_is_refused(
    world: World, address: list[Any], secret: str | None, reason: str
) -> None:
    named(world, address, secret)
    world.core.decide = lambda message: {"as": "missing"}
    assert 404 == world.gateway.get(world.root, world.pin()).status
    assert reason in world.gateway.log.read_text()


# One connection


@pytest.fixture
def loop() -> Loop:
    loop = Loop(Log("test", fd=os.open(os.devnull, os.O_WRONLY)))
    loop.later(20, loop.stop)
    return loop


def dial(loop: Loop, address: tuple[str, int], seconds: float = 5.0) -> tuple[Dial, list[object]]:
    told: list[object] = []

    def tell(news: object) -> None:
        told.append(news)
        loop.stop()

    return Dial(loop, address, "s", seconds, tell, tell), told


@pytest.fixture
def silent() -> Iterator[tuple[str, int]]:
    """An address that accepts nothing: its queue is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        with socket.create_connection(listener.getsockname()[:2]):
            yield listener.getsockname()[:2]


def test_a_connection_that_is_not_made_in_time_is_given_up(
    loop: Loop, silent: tuple[str, int]
) -> None:
    _, told = dial(loop, silent, 0.2)
    loop.run()
    assert ["no connection within 0.2 seconds"] == told


def test_a_connection_that_nobody_wants_any_more_is_told_to_nobody(
    loop: Loop, silent: tuple[str, int]
) -> None:
    before = len(os.listdir("/proc/self/fd"))
    dialling, told = dial(loop, silent, 0.1)
    dialling.cancel()
    loop.later(0.2, loop.stop)
    loop.run()
    assert [] == told
    assert before == len(os.listdir("/proc/self/fd"))


def test_an_address_without_a_route_is_told_after_the_call(loop: Loop) -> None:
    _, told = dial(loop, ("255.255.255.255", 80))
    assert [] == told
    loop.run()
    assert 1 == len(told)
    assert isinstance(told[0], str)
