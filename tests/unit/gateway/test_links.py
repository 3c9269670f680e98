"""The gateway as a process: tunnels, the core's link, starting and failing content, the end."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from typing import Any

import pytest

World = Any  # the fixtures of conftest.py
UPGRADE = (
    "Upgrade: websocket",
    "Connection: keep-alive, Upgrade",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version: 13",
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"


def sockets(wire: Any) -> Any:
    """Make a worker that echoes raw bytes after an upgrade, and requests otherwise."""

    def serve(sock: socket.socket) -> None:
        head = wire.read_until(sock, b"\r\n\r\n")
        if b"Upgrade: websocket" not in head:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            return
        sock.sendall(SWITCH)
        while data := sock.recv(65536):
            sock.sendall(data)

    return serve


def test_a_websocket_is_a_tunnel_of_raw_bytes(world: World, wire: Any) -> None:
    world.worker(sockets(wire))
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), *UPGRADE))
        answer = wire.Answer(sock)
        assert (101, "websocket") == (answer.status, answer.get("upgrade"))
        for data in (b"hello", bytes(range(256)) * 1000):
            sock.sendall(data)
            assert data == wire.read_exactly(sock, len(data))
        world.core.until(lambda m: m.get("runs", {}).get("01run", {}).get("sockets") == 1)
    world.core.until(
        lambda m: m.get("runs", {}).get("01run") == {"sockets": 0, "requests": 0, "total": 1}
    )


def test_only_our_own_pages_open_websockets(world: World, wire: Any) -> None:
    world.worker(sockets(wire))
    world.start(server_address="https://apps.example.org/")
    cases = {
        "http://h": 101,
        "https://apps.example.org": 101,
        "https://evil.example": 403,
        "null": 403,
    }
    for origin, status in cases.items():
        with world.gateway.connect() as sock:
            sock.sendall(wire.request(world.root, world.pin(), f"Origin: {origin}", *UPGRADE))
            assert (origin, status) == (origin, wire.Answer(sock).status)


def test_other_upgrades_are_ordinary_requests(world: World) -> None:
    world.worker()
    answer = world.gateway.get(
        world.root, world.pin(), "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings",
        "HTTP2-Settings: AAMAAABk",
    )  # fmt: skip
    assert 200 == answer.status
    assert b"h2c" not in answer.body
    assert b"HTTP2" not in answer.body


def test_a_stuck_websocket_reader_bounds_the_memory(world: World, wire: Any) -> None:
    stuck = threading.Event()
    sent = [0]

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(SWITCH)
        sock.settimeout(1)
        while sent[0] < 50_000_000:
            try:
                sent[0] += sock.send(bytes(min(65536, 50_000_000 - sent[0])))
            except TimeoutError:
                stuck.set()

    world.worker(serve)
    before = world.gateway.memory
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), *UPGRADE))
        assert stuck.wait(20)
        assert world.gateway.memory - before < 2 << 20
        data = wire.read_until(sock, b"\r\n\r\n")
        count = len(data.partition(b"\r\n\r\n")[2])
        wire.read_exactly(sock, 50_000_000 - count)
        assert b"" == sock.recv(1)  # the worker's end has come through


def test_two_hundred_idle_websockets_cost_little(world: World, wire: Any) -> None:
    world.worker(sockets(wire))
    before = world.gateway.memory
    open_ = []
    for _ in range(200):
        sock = world.gateway.connect()
        sock.sendall(wire.request(world.root, world.pin(), *UPGRADE))
        assert 101 == wire.Answer(sock).status
        open_.append(sock)
    assert world.gateway.memory - before < 200 * 16 * 1024
    for number, sock in enumerate(open_):
        sock.sendall(b"%d" % number)
        assert b"%d" % number == wire.read_until(sock, b"%d" % number)
    world.core.until(lambda m: m.get("runs", {}).get("01run", {}).get("sockets") == 200)
    for sock in open_:
        sock.close()
    world.core.until(lambda m: m.get("runs", {}).get("01run", {}).get("sockets") == 0)


def test_sockets_and_pins_live_on_without_a_core(world: World, wire: Any) -> None:
    world.worker(sockets(wire))
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin(), *UPGRADE))
        wire.Answer(sock)
        world.core.stop()
        sock.sendall(b"still here")
        assert b"still here" == wire.read_until(sock, b"still here")
        assert b"ok" == world.gateway.get(world.root, world.pin()).body
        world.core.seen.clear()
        world.core.start()
        first = world.core.until(lambda m: m["type"] == "activity")
        assert first["all"] is True
        assert 1 == first["runs"]["01run"]["sockets"]


def test_a_question_is_put_to_the_next_core(world: World) -> None:
    world.worker(add=True)
    world.core.decide = lambda message: None  # dies before it answers
    answers = []
    thread = threading.Thread(target=lambda: answers.append(world.gateway.get(world.root)))
    world.gateway.get("/__ping__")
    thread.start()
    world.core.until(lambda m: m["type"] == "resolve")
    world.core.stop()
    world.core.decide = lambda message: {"as": "worker", "run": "01run"}
    world.core.start()
    thread.join(10)
    assert [200] == [answer.status for answer in answers]


def test_without_a_core_the_rest_waits_and_then_is_unavailable(world: World) -> None:
    world.core.wait = 1.0
    world.gateway.get("/__ping__")
    world.core.until(lambda m: m["type"] == "activity")
    world.core.stop()
    started = time.monotonic()
    answer = world.gateway.get(world.root, "Accept: application/json")
    assert 503 == answer.status
    assert "unavailable" == json.loads(answer.body)["code"]
    assert 0.5 < time.monotonic() - started < 4
    page = world.gateway.get("/", *world.browser)
    assert (503, "2") == (page.status, page.get("retry-after"))
    assert b"<main>" in page.body


def test_a_new_core_that_does_not_name_a_run_makes_it_unknown(world: World) -> None:
    world.worker()
    assert 200 == world.gateway.get(world.root, world.pin()).status
    world.core.stop()
    world.core.workers.clear()
    world.core.decide = lambda message: {"as": "missing"}
    world.core.seen.clear()
    world.core.start()
    world.core.until(lambda m: m.get("all"))  # the old core may still have heard of the request
    answer = world.gateway.get(world.root, world.pin())
    assert 404 == answer.status
    (question,) = world.core.kinds("resolve")
    assert ("01run", "visitor1") == (question["run"], question["visitor"])


def test_a_starting_page_turns_into_the_app(world: World) -> None:
    ready = threading.Event()

    def decide(message: dict[str, Any]) -> dict[str, Any]:
        if message["want"] == "page" and not ready.is_set():
            return {"as": "starting", "title": "A <b>plot</b>"}
        ready.wait(10)
        return {"as": "worker", "run": "01run"}

    world.worker()
    world.core.decide = decide
    page = world.gateway.get(world.root, *world.browser)
    assert (503, "3") == (page.status, page.get("retry-after"))
    assert b"A &lt;b&gt;plot" in page.body
    wait = f"/__supervisor__/wait/{world.guid}?pin={page.pin.partition('=')[2]}"
    assert f'data-wait="{wait}"'.encode() in page.body
    answers = []
    thread = threading.Thread(target=lambda: answers.append(world.gateway.get(wait)))
    thread.start()
    world.core.until(lambda m: m.get("want") == "wait")
    ready.set()
    thread.join(10)
    assert [204] == [answer.status for answer in answers]
    cookie = f"Cookie: {page.pin}"
    assert 200 == world.gateway.get(world.root, cookie, *world.browser).status
    assert 1 == len({question["visitor"] for question in world.core.kinds("resolve")})


def test_whoever_is_no_page_waits_for_the_start(world: World) -> None:
    world.worker()
    seen: list[str] = []

    def decide(message: dict[str, Any]) -> dict[str, Any]:
        seen.append(message["want"])
        time.sleep(0.2)
        return {"as": "worker", "run": "01run"}

    world.core.decide = decide
    for lines in (
        (),
        ("Accept: text/html", "Sec-Fetch-Mode: cors"),
        ("Accept: text/html", "Sec-Fetch-Dest: script"),
        ("Accept: text/html",),
        UPGRADE,
    ):
        world.gateway.get(world.root, *lines)
    assert ["request", "request", "request", "page", "socket"] == seen


def test_a_failed_start_shows_reason_and_last_lines(world: World) -> None:
    world.core.decide = lambda message: {
        "as": "failed", "title": "Plot", "code": "start-failed", "reason": "it ended by itself",
        "lines": ["Error in <app>", "calls: & more"], "retry": 7.2,
    }  # fmt: skip
    page = world.gateway.get(world.root, *world.browser)
    assert (503, "7") == (page.status, page.get("retry-after"))
    assert b"it ended by itself" in page.body
    assert b"Error in &lt;app&gt;\ncalls: &amp; more" in page.body
    text = world.gateway.get(world.root)
    assert b"Plot could not be started: it ended by itself [start-failed]\n" == text.body
    pin = world.pin().partition("=")[2]
    wait = world.gateway.get(f"/__supervisor__/wait/{world.guid}?pin={pin}")
    assert 409 == wait.status
    assert "start-failed" == json.loads(wait.body)["code"]


@pytest.mark.parametrize(
    ("answer", "status", "text"),
    [
        ({"as": "missing"}, 404, b"nothing at this address"),
        ({"as": "stopped", "title": "Plot"}, 503, b"Plot is stopped"),
        ({"as": "unavailable", "reason": "full", "retry": 9}, 503, b"full"),
        ({"as": "something new"}, 503, b"cannot answer"),
        ({"as": "worker", "run": "unknown"}, 503, b"cannot answer"),
    ],
)
def test_each_verdict_has_its_page(
    world: World, answer: dict[str, Any], status: int, text: bytes
) -> None:
    world.core.decide = lambda message: answer
    page = world.gateway.get(world.root, *world.browser)
    assert status == page.status
    assert text in page.body
    assert "text/html; charset=utf-8" == page.get("content-type")
    assert status == world.gateway.get(world.root).status


def test_a_worker_that_is_gone_leads_to_another_and_a_new_pin(world: World) -> None:
    first = world.worker(run="01first")
    pin = world.pin("01first")
    assert 200 == world.gateway.get(world.root, pin).status
    first.close()
    world.worker(run="02second")  # the core does not know yet that the first is gone
    answer = world.gateway.get(world.root, pin)
    assert 200 == answer.status
    assert answer.pin.startswith("supervisor-pin=02second.")
    assert "01first" == world.core.until(lambda m: m["type"] == "unreachable")["run"]
    world.core.gone("01first")
    world.gateway.get("/__ping__")
    question = world.core.kinds("resolve")[-1]
    assert (None, "visitor1") == (question["run"], question["visitor"])


def test_two_dead_workers_in_a_row_are_a_bad_gateway(world: World) -> None:
    world.worker(run="01first").close()
    world.worker(run="02second").close()
    assert 502 == world.gateway.get(world.root, world.pin("01first")).status


def test_a_new_page_leaves_a_draining_worker_and_its_old_page_stays(world: World) -> None:
    old = world.worker(run="01old", add=False)
    world.worker(run="02new")
    world.core.add(old, state="draining")
    pin = world.pin("01old")
    page = world.gateway.get(world.root, pin, *world.browser)
    assert page.pin.startswith("supervisor-pin=02new.")
    world.gateway.get(world.root + "session/data.json", pin)
    assert 1 == old.connections


@pytest.mark.parametrize("kind", ["link", "file", "other"])
def test_a_swapped_socket_is_refused(world: World, kind: str) -> None:
    victim = world.worker(run="02victim", add=False)
    worker = world.worker(uid=os.getuid() + 1 if kind == "other" else -1)
    if kind != "other":
        worker.path.unlink()
    if kind == "link":
        worker.path.symlink_to(victim.path)
    elif kind == "file":
        worker.path.write_text("")
    answer = world.gateway.get(world.root, world.pin())
    assert 502 == answer.status
    assert b"[socket-swapped]" in answer.body
    world.core.until(lambda m: m["type"] == "unreachable")
    assert 0 == victim.connections


def test_forged_pins_are_worth_nothing(world: World) -> None:
    world.worker()
    world.core.decide = lambda message: {"as": "missing"}
    pin = world.pin()
    for bad in (
        pin[:-1] + ("A" if pin[-1] != "A" else "B"),
        world.pin(guid=world.other_guid),
        world.pin(seconds=-1),
        pin[:60],
    ):
        assert 404 == world.gateway.get(world.root, bad).status
    assert all(question["run"] is None for question in world.core.kinds("resolve"))
    assert 200 == world.gateway.get(world.root, pin).status


def test_the_address_of_a_content_has_one_spelling(world: World) -> None:
    for path in (f"/content/{world.guid}", f"/content/{world.guid.upper()}/"):
        answer = world.gateway.get(path + "?a=1")
        assert (307, world.root + "?a=1") == (answer.status, answer.get("location"))


def test_stop_lets_requests_finish_and_closes_the_rest(world: World, wire: Any) -> None:
    release = threading.Event()
    begun = threading.Event()

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        begun.set()
        release.wait(10)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    world.worker(serve)
    gateway = world.gateway
    with gateway.connect() as busy, gateway.connect() as idle:
        idle.sendall(wire.request("/__ping__"))
        wire.Answer(idle)
        busy.sendall(wire.request(world.root, world.pin()))
        assert begun.wait(10)
        gateway.control.send(b'{"type": "stop", "seconds": 10}')
        assert b"" == idle.recv(1)
        assert gateway.process.poll() is None
        release.set()
        answer = wire.Answer(busy)
        assert (b"ok", "close") == (answer.body, answer.get("connection"))
    assert 0 == gateway.process.wait(5)


def test_stop_answers_whoever_has_just_connected(world: World, wire: Any) -> None:
    gateway = world.gateway
    with gateway.connect() as new, gateway.connect() as silent, gateway.connect() as idle:
        idle.sendall(wire.request("/__ping__"))
        wire.Answer(idle)  # so the ones before it were accepted
        gateway.control.send(b'{"type": "stop", "seconds": 10}')
        assert b"" == idle.recv(1)
        new.sendall(wire.request("/__ping__"))
        answer = wire.Answer(new)
        assert (200, "close") == (answer.status, answer.get("connection"))
        assert b"" == silent.recv(1)
    assert 0 == gateway.process.wait(5)


def test_the_parents_death_ends_the_gateway(world: World) -> None:
    world.gateway.control.close()
    assert 0 == world.gateway.process.wait(2)


def test_signals_of_a_terminal_are_ignored(world: World) -> None:
    world.gateway.process.send_signal(2)
    world.gateway.process.send_signal(15)
    assert 200 == world.gateway.get("/__ping__").status
