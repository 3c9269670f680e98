"""Server-sent events: a request in flight for as long as somebody listens."""

from __future__ import annotations

import socket
import threading
from typing import Any

World = Any  # the fixtures of conftest.py
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
EVENTS = (b"data: 1\n\n", b"data: 2\n\n")


def in_flight(world: World, count: int) -> None:
    """Wait until the core is told that a run has so many requests in flight."""
    world.core.until(
        lambda message: (
            message["type"] == "activity"
            and message["runs"].get("01run", {}).get("requests") == count
        )
    )


def test_each_event_comes_at_once_and_the_run_is_busy_until_the_last(
    world: World, wire: Any
) -> None:
    heard = [threading.Event() for _ in EVENTS]

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(HEAD)
        for event, read in zip(EVENTS, heard, strict=True):
            sock.sendall(b"%x\r\n%b\r\n" % (len(event), event))
            assert read.wait(20)  # it says nothing more before the visitor has it
        sock.sendall(b"0\r\n\r\n")

    world.worker(serve)
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), "Accept: text/event-stream"))
        assert EVENTS[0] in wire.read_until(sock, EVENTS[0])
        in_flight(world, 1)
        heard[0].set()
        assert EVENTS[1] in wire.read_until(sock, EVENTS[1])
        heard[1].set()
        in_flight(world, 0)


def test_a_listener_that_leaves_is_no_request_any_more(world: World, wire: Any) -> None:
    over = threading.Event()

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(HEAD + b"%x\r\n%b\r\n" % (len(EVENTS[0]), EVENTS[0]))
        assert b"" == sock.recv(100)  # it learns that nobody listens
        over.set()

    world.worker(serve)
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), "Accept: text/event-stream"))
        wire.read_until(sock, EVENTS[0])
        in_flight(world, 1)
    in_flight(world, 0)
    assert over.wait(20)
