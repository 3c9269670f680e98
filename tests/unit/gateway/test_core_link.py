"""The gateway as a process: what it tells the core of seats, what the core wants, leaving."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from supervisor.gateway.frames import close_frame

World = Any  # the fixtures of conftest.py
UPGRADE = ("Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: a2V5")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
GOING = b"\x88\x82\x00\x00\x00\x00\x03\xe9"  # a browser's close frame


@pytest.fixture
def echo(wire: Any) -> Any:
    """A worker's part: echo after an upgrade, `ok` to anything else."""

    def serve(sock: socket.socket) -> None:
        for head, _ in wire.requests(sock):
            if b"Upgrade: websocket" not in head:
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                continue
            sock.sendall(SWITCH)
            while data := sock.recv(65536):
                sock.sendall(data)
            return

    return serve


@contextlib.contextmanager
def session(world: World, wire: Any, *lines: str) -> Iterator[socket.socket]:
    """An open WebSocket of the visitor whom the pin names."""
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, *(lines or (world.pin(),)), *UPGRADE))
        assert 101 == wire.Answer(sock).status
        yield sock


def seats_asked(world: World) -> list[str]:
    return [message["seat"] for message in world.core.kinds("resolve") if "seat" in message]


def said(world: World, kind: str) -> Any:
    return world.core.until(lambda message: message["type"] == kind)


def control(world: World, message: bytes) -> None:
    world.gateway.control.send(message)


# What the core learns


@pytest.mark.parametrize(("last", "clean"), [(GOING, True), (b"\x81\x80mask", False), (b"", False)])
def test_the_end_of_a_session_is_told_and_whether_it_was_in_order(
    world: World, wire: Any, echo: Any, last: bytes, clean: bool
) -> None:
    world.worker(echo)
    with session(world, wire) as sock:
        (seat,) = seats_asked(world)
        assert {} == world.core.left()
        sock.sendall(last)
        wire.read_exactly(sock, len(last))
    world.core.until(lambda message: message.get("left") == [[seat, clean]])


@pytest.mark.parametrize("how", ["end", "reset"])
def test_a_client_that_goes_while_the_core_decides_gives_the_seat_back(
    world: World, wire: Any, how: str
) -> None:
    world.worker()
    world.core.decide = lambda message: None
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), *UPGRADE))
        question = said(world, "resolve")
        assert (f"{said(world, 'hello')['gateway']}-1", "01run") == (
            question["seat"], question["run"],
        )  # fmt: skip
        if how == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
    world.gateway.get("/__ping__")
    world.core.send({"type": "answer", "id": question["id"], "as": "worker", "run": "01run"})
    world.core.until(lambda message: message.get("left") == [[question["seat"], True]])


def test_the_next_core_learns_all_seats_also_one_that_none_has_granted(
    world: World, wire: Any, echo: Any
) -> None:
    world.worker(echo)
    with session(world, wire):
        world.core.stop()
        with session(world, wire):
            world.core.seen.clear()
            world.core.start()
            first = said(world, "activity")
    (one, two) = first["seats"]
    gateway = said(world, "hello")["gateway"]
    assert [[f"{gateway}-1", "01run", "visitor1"], [f"{gateway}-2", "01run", "visitor1"]] == [
        one[:3], two[:3],
    ]  # fmt: skip
    assert 0 <= two[3] <= one[3] < 10
    assert (True, None) == (first["all"], first.get("more"))
    world.core.until(lambda message: len(world.core.left()) == 2)


def test_a_seat_that_ends_while_no_core_lives_is_not_in_the_next_picture(
    world: World, wire: Any, echo: Any
) -> None:
    world.worker(echo)
    with session(world, wire):
        world.core.stop()
    world.gateway.get("/__ping__")
    world.core.seen.clear()
    world.core.start()
    assert "seats" not in said(world, "activity")
    with session(world, wire):
        (seat,) = seats_asked(world)
    world.core.until(lambda message: "left" in message)
    assert {seat: False} == world.core.left()


def test_a_session_that_waits_for_a_core_follows_its_pin_when_that_core_dies(
    world: World, wire: Any, echo: Any
) -> None:
    world.worker(echo)
    world.core.decide = lambda message: None
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), *UPGRADE))
        said(world, "resolve")
        world.core.stop()
        assert 101 == wire.Answer(sock).status


def test_a_pin_is_kept_though_the_gateway_is_there_before_the_core(world: World) -> None:
    world.core.stop()
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(world.gateway.get(world.root + "x", world.pin()))
    )
    world.gateway.get("/__ping__")
    thread.start()
    world.gateway.get("/__ping__")
    world.worker()
    world.core.start()
    thread.join(10)
    assert [200] == [answer.status for answer in answers]
    assert [("01run", "visitor1")] == [
        (question["run"], question["visitor"]) for question in world.core.kinds("resolve")
    ]


def test_how_seats_are_used_is_told(world: World, wire: Any, echo: Any) -> None:
    world.worker(echo)
    with session(world, wire) as sock:
        sock.sendall(b"\x81\x80mask")
        wire.read_exactly(sock, 6)
        world.core.send({"type": "tell", "id": 7})
        told = said(world, "told")
    ((seat, client, worker, bytes_in, bytes_out),) = told["seats"]
    assert (7, seats_asked(world), 6, 6) == (told["id"], [seat], bytes_in, bytes_out)
    assert 0 <= client < 10
    assert 0 <= worker < 10


def test_a_silence_is_told(world: World, wire: Any, echo: Any) -> None:
    world.core.facts["01run"] = {"connection": 3, "read": 1}
    world.worker(echo)
    with session(world, wire):
        silence = said(world, "silent")
        assert (seats_asked(world), "read") == ([silence["seat"]], silence["which"])
        assert 1 <= silence["seconds"] < 3
        world.core.until(lambda message: message.get("which") == "connection")


def test_a_new_limit_holds_for_open_sessions(world: World, wire: Any, echo: Any) -> None:
    worker = world.worker(echo)
    with session(world, wire):
        world.core.facts["01run"] = {"connection": 1}
        world.core.add(worker)
        assert "connection" == said(world, "silent")["which"]


# What the core wants


def test_a_session_that_the_core_ends_gets_a_close_frame(
    world: World, wire: Any, echo: Any
) -> None:
    world.worker(echo)
    with session(world, wire) as sock:
        (seat,) = seats_asked(world)
        world.core.send({"type": "end", "seat": "unknown", "reason": "x"})
        world.core.send({"type": "end", "seat": seat, "reason": "silent for an hour"})
        frame = close_frame(1001, "silent for an hour")
        assert frame == wire.read_exactly(sock, len(frame))
        assert b"" == sock.recv(1)
        world.core.until(lambda message: message.get("left") == [[seat, True]])


# Leaving


def test_a_gateway_that_leaves_keeps_its_sessions_and_accepts_no_more(
    world: World, wire: Any, echo: Any
) -> None:
    world.worker(echo)
    with session(world, wire) as sock, world.gateway.connect() as idle:
        idle.sendall(wire.request("/__ping__"))
        wire.Answer(idle)
        control(world, b'{"type": "leave", "seconds": 60}')
        assert b"" == idle.recv(1)
        with world.gateway.connect():
            ours, _ = world.gateway.listener.accept()  # nobody else takes it
            ours.close()
        sock.sendall(b"\x81\x80mask")
        assert b"\x81\x80mask" == wire.read_exactly(sock, 6)
        assert world.gateway.process.poll() is None
    assert 0 == world.gateway.process.wait(5)


def test_a_gateway_that_leaves_finishes_what_is_under_way(world: World, wire: Any) -> None:
    release, begun = threading.Event(), threading.Event()

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        begun.set()
        release.wait(10)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    world.worker(serve)
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin()))
        assert begun.wait(10)
        control(world, b'{"type": "leave", "seconds": 60}')
        release.set()
        answer = wire.Answer(sock)
        assert (b"ok", "close") == (answer.body, answer.get("connection"))
    assert 0 == world.gateway.process.wait(5)


def test_sessions_that_are_left_at_the_limit_are_told_to_come_again(
    world: World, wire: Any, echo: Any
) -> None:
    world.worker(echo)
    with session(world, wire) as sock:
        (seat,) = seats_asked(world)
        control(world, b'{"type": "leave", "seconds": 60}')
        control(world, b'{"type": "leave", "seconds": 0}')
        frame = wire.read_exactly(sock, 4)
        assert (0x88, 1012) == (frame[0], int.from_bytes(frame[2:], "big"))
        wire.read_exactly(sock, frame[1] - 2)
        world.core.until(lambda message: message.get("left") == [[seat, False]])
        assert b"" == sock.recv(1)
    assert 0 == world.gateway.process.wait(5)


def test_a_gateway_that_leaves_outlives_a_core_and_says_so(
    world: World, wire: Any, echo: Any
) -> None:
    world.worker(echo)
    with session(world, wire) as sock:
        assert not said(world, "hello").get("leaving")
        control(world, b'{"type": "leave", "seconds": 60}')
        world.core.stop()
        world.core.seen.clear()
        world.core.start()
        assert said(world, "hello")["leaving"] is True
        assert 1 == len(said(world, "activity")["seats"])
        sock.sendall(b"\x81\x80mask")
        assert b"\x81\x80mask" == wire.read_exactly(sock, 6)
