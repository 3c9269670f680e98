"""Supervisor-Busy: a worker says in an answer how long it works; the core hears it, no visitor."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

from supervisor import packets
from supervisor.gateway import activity
from supervisor.gateway.head import parse_response
from supervisor.gateway.sessions import Sessions, Worker
from tests.support.exchange import Scene

World = Any  # the fixtures of conftest.py
RUN = "0" * 26


def test_the_field_is_taken_out_of_the_head_and_the_last_one_counts() -> None:
    head = b"HTTP/1.1 202 Accepted\r\nsupervisor-BUSY:  10m \r\nA: b\r\nSupervisor-Busy: 0"
    response = parse_response(head)
    assert (b"0", [b"HTTP/1.1 202 Accepted", b"A: b"]) == (response.busy, response.kept)
    assert parse_response(b"HTTP/1.1 200 OK\r\nA: b").busy is None


def test_a_look_alike_declares_nothing_and_is_dropped() -> None:
    response = parse_response(b"HTTP/1.1 200 OK\r\nSupervisor_Busy: 10m")
    assert (None, [b"HTTP/1.1 200 OK"]) == (response.busy, response.kept)


@pytest.mark.parametrize("status", [b"200 OK", b"202 Accepted", b"204 No Content", b"500 Oops"])
def test_an_answer_declares_whatever_its_status(status: bytes) -> None:
    scene = Scene()
    scene.says(scene.get())
    length = b"" if status.startswith(b"204") else b"Content-Length: 0\r\n"
    scene.answers(b"HTTP/1.1 %b\r\n%bSupervisor-Busy: 10m\r\n\r\n" % (status, length))
    assert [b"10m"] == scene.gateway.declared
    assert b"HTTP/1.1 " + status in scene.client.sent
    assert b"busy" not in scene.client.sent.lower()


def test_an_answer_without_the_field_declares_nothing() -> None:
    scene = Scene()
    scene.says(scene.get(b"Supervisor-Busy: 10m"))  # no visitor has a say in it
    scene.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert [] == scene.gateway.declared


def test_words_are_cut_such_that_a_full_part_fits_a_packet() -> None:
    assert ("10m", "", "1h30m") == tuple(map(activity.word, (b"10m", b"", b"1h30m")))
    assert "1234567890123..." == activity.word(b"12345678901234567")
    worst = activity.word(b"\xff" + b'"' * 20), 12345678.123456789
    count = {"sockets": 99999, "requests": 99999, "total": 10**10, "busy": worst}
    runs = {f"{number:026}": count for number in range(activity.PART)}
    (message,) = activity.changes(runs, [])
    assert len(json.dumps(message, separators=(",", ":"))) < packets.LIMIT


def test_the_later_word_counts_through_whichever_gateway_it_came() -> None:
    sessions = Sessions()
    for word, counts in [(("10m", 5.0), ("10m", 5.0)), (("1h", 4.0), ("10m", 5.0)),
                         (None, ("10m", 5.0)), (("0", 6.0), ("0", 6.0))]:  # fmt: skip
        worker = Worker(RUN, b"guid", "app.sock", 1, -1)
        worker.busy = word
        assert counts == sessions.put(worker).busy


def says(word: str) -> Any:
    def serve(sock: socket.socket) -> None:
        while sock.recv(65536):
            field = f"Supervisor-Busy: {word}\r\n" if word else ""
            sock.sendall(f"HTTP/1.1 202 Accepted\r\n{field}Content-Length: 0\r\n\r\n".encode())

    return serve


def heard(world: World, **fields: object) -> Any:
    """Wait until the core is told a word, and give it."""

    def has(message: Any) -> bool:
        told = "busy" in message.get("runs", {}).get("01run", {})
        return told and fields.items() <= message.items()

    return world.core.until(has)["runs"]["01run"]["busy"]


def test_the_core_is_told_and_so_is_every_next_one(world: World) -> None:
    world.worker(says("10m"))
    began = time.monotonic()
    answer = world.gateway.get(world.root, world.pin())
    assert (202, None) == (answer.status, answer.get("supervisor-busy"))
    word, moment = heard(world)
    assert "10m" == word
    assert began - 1 < moment <= time.monotonic()
    world.core.stop()
    world.core.seen.clear()
    world.core.start()
    assert [word, moment] == heard(world, all=True)


def test_what_a_core_tells_of_a_word_is_told_to_the_next_core(world: World) -> None:
    world.core.facts["01run"] = {"busy": ["1h", 12.5]}
    world.worker()
    world.gateway.get(world.root, world.pin())
    assert ["1h", 12.5] == heard(world)
    world.core.facts.clear()  # of the version before: it tells of no word
    world.core.stop()
    world.core.seen.clear()
    world.core.start()
    assert ["1h", 12.5] == heard(world, all=True)
