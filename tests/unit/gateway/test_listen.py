"""A listener backs off where descriptors run out, and accepts again."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator

import pytest

from supervisor.gateway.listen import Listener
from supervisor.gateway.loop import Loop
from supervisor.log import Log


@pytest.fixture
def loop() -> Loop:
    loop = Loop(Log("test", fd=os.open(os.devnull, os.O_WRONLY)))
    loop.later(20, loop.stop)
    return loop


class Scarce(socket.socket):
    """A listening socket that has no descriptor to give, once or more."""

    fails = 0

    def accept(self) -> tuple[socket.socket, object]:
        if self.fails:
            self.fails -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


@pytest.fixture
def server() -> Iterator[Scarce]:
    with Scarce() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        yield server


def test_running_out_of_descriptors_only_delays(loop: Loop, server: Scarce) -> None:
    server.fails = 2
    came: list[bytes] = []

    def accepted(sock: socket.socket, address: bytes) -> None:
        came.append(address)
        sock.close()
        loop.stop()

    Listener(loop, server, accepted, lambda: True)
    with socket.create_connection(server.getsockname()):
        loop.run()
    assert ([b"127.0.0.1"], 0) == (came, server.fails)


def test_a_full_gateway_waits_for_room(loop: Loop, server: Scarce) -> None:
    answers = [False, True]
    options: list[int] = []

    def accepted(sock: socket.socket, address: bytes) -> None:
        options.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        options.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        sock.close()
        loop.stop()

    Listener(loop, server, accepted, lambda: answers.pop(0))
    with socket.create_connection(server.getsockname()):
        loop.run()
    assert [1, 1] == options


def test_a_closed_listener_accepts_no_more(loop: Loop, server: Scarce) -> None:
    listener = Listener(loop, server, lambda sock, address: sock.close(), lambda: True)
    listener.close()
    listener.close()
    loop.later(0, loop.stop)
    loop.run()
    assert -1 == server.fileno()


def test_a_client_that_vanishes_is_found_within_36_seconds(loop: Loop, server: Scarce) -> None:
    found: list[list[int]] = []
    names = ("SO_KEEPALIVE", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")

    def accepted(sock: socket.socket, address: bytes) -> None:
        levels = (socket.SOL_SOCKET, *[socket.IPPROTO_TCP] * 3)
        options = zip(levels, names, strict=True)
        found.append([sock.getsockopt(level, getattr(socket, name)) for level, name in options])
        sock.close()
        loop.stop()

    listener = Listener(loop, server, accepted, lambda: True)
    with socket.create_connection(server.getsockname()):
        loop.run()
    listener.close()
    ((on, idle, pause, probes),) = found
    assert on
    assert 36 >= idle + pause * probes
