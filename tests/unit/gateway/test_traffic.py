"""The gateway as a process: requests and answers between real sockets."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from typing import Any

World = Any  # the fixtures of conftest.py
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def test_a_visitor_reaches_the_worker_and_is_pinned(world: World) -> None:
    world.worker()
    answer = world.gateway.get(world.root + "a?b=1")
    assert 200 == answer.status
    assert answer.body.startswith(b"GET /a?b=1 HTTP/1.1\r\nHost: h\r\n")
    assert answer.pin.startswith("supervisor-pin=01run.")
    asked = len(world.core.kinds("resolve"))
    again = world.gateway.get(world.root, f"Cookie: {answer.pin}")
    assert 200 == again.status
    assert [] == again.all("set-cookie")
    assert asked == len(world.core.kinds("resolve"))


def test_the_gateway_answers_a_ping(world: World) -> None:
    answer = world.gateway.get("/__ping__")
    assert (200, b"{}") == (answer.status, answer.body)


def test_the_parent_hears_hello_and_ready(world: World) -> None:
    heard = [message["type"] for message, _ in world.gateway.heard]
    assert ["hello", "ready"] == heard


def test_many_requests_share_one_connection_on_both_sides(world: World, wire: Any) -> None:
    worker = world.worker()
    with world.gateway.connect() as sock:
        for number in range(20):
            sock.sendall(wire.request(world.root + str(number), world.pin()))
            answer = wire.Answer(sock)
            assert answer.body.startswith(b"GET /%d HTTP/1.1" % number)
    assert 1 == worker.connections


def test_pipelined_requests_are_answered_in_order(world: World, wire: Any) -> None:
    world.worker()
    with world.gateway.connect() as sock:
        requests = [wire.request(world.root + str(n), world.pin()) for n in range(10)]
        requests.insert(5, wire.request("/__ping__"))
        sock.sendall(b"".join(requests))
        rest = b""
        bodies = []
        for _ in range(11):
            answer = wire.Answer(sock, data=rest)
            rest = answer.rest
            bodies.append(answer.body[:6])
    expected = [b"GET /%d" % n for n in range(10)]
    expected.insert(5, b"{}")
    assert expected == bodies


def test_bodies_pass_by_length_and_by_chunks(world: World, wire: Any) -> None:
    seen: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        data = wire.read_until(sock, b"\r\n\r\n")
        data = wire.read_until(sock, b"0\r\n\r\n", data)
        seen.append(data)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n")
        sock.sendall(b"6\r\n world\r\n0\r\nTrailer: dropped\r\n\r\n")

    world.worker(serve)
    with world.gateway.connect() as sock:
        head = wire.request(world.root, world.pin(), "Transfer-Encoding: chunked", method="POST")
        for piece in (head, b"3\r\nabc\r", b"\n4;ext=1\r\ndefg\r\n", b"0\r\nT: 1\r\n\r\n"):
            sock.sendall(piece)
        answer = wire.Answer(sock)
    assert b"hello world" == answer.body
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    assert b"ext" not in body
    assert b"T:" not in body
    assert b"abcdefg" == b"".join(body.split(b"\r\n")[1::2])


def test_an_answer_without_length_becomes_chunks_and_the_connection_stays(
    world: World, wire: Any
) -> None:
    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.0 200 OK\r\n\r\nuntil the end")

    world.worker(serve)
    with world.gateway.connect() as sock:
        for _ in range(2):
            sock.sendall(wire.request(world.root, world.pin()))
            answer = wire.Answer(sock)
            assert "chunked" == answer.get("transfer-encoding")
            assert b"until the end" == answer.body


def test_an_old_client_gets_plain_bytes_and_the_end(world: World, wire: Any) -> None:
    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n")

    world.worker(serve)
    data = world.gateway.raw(f"GET {world.root} HTTP/1.0\r\n{world.pin()}\r\n\r\n".encode())
    head, _, body = data.partition(b"\r\n\r\n")
    assert b"ab" == body
    assert b"chunked" not in head


def test_heads_without_body_leave_the_connection_usable(world: World, wire: Any) -> None:
    def serve(sock: socket.socket) -> None:
        for head, _ in wire.requests(sock):
            if head.startswith(b"HEAD"):
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
            elif b"/none" in head:
                sock.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            elif b"/same" in head:
                sock.sendall(b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 9\r\n\r\n")
            else:
                sock.sendall(OK)

    worker = world.worker(serve)
    with world.gateway.connect() as sock:
        for method, path in (("HEAD", ""), ("GET", "none"), ("GET", "same"), ("GET", "end")):
            sock.sendall(wire.request(world.root + path, world.pin(), method=method))
            answer = wire.Answer(sock, method)
        assert b"ok" == answer.body
    assert 1 == worker.connections


def test_expect_continue_is_passed_both_ways(world: World, wire: Any) -> None:
    def serve(sock: socket.socket) -> None:
        head = wire.read_until(sock, b"\r\n\r\n")
        assert b"Expect: 100-continue" in head
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = wire.read_until(sock, b"abc")
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    world.worker(serve)
    with world.gateway.connect() as sock:
        sock.sendall(
            wire.request(
                world.root, world.pin(), "Expect: 100-continue", "Content-Length: 3", method="PUT"
            )
        )
        assert 100 == wire.Answer(sock).status
        sock.sendall(b"abc")
        assert b"abc" == wire.Answer(sock).body


def test_a_hundred_megabytes_stream_both_ways_in_bounded_memory(world: World, wire: Any) -> None:
    size = 100 << 20
    got = []

    def serve(sock: socket.socket) -> None:
        data = wire.read_until(sock, b"\r\n\r\n")
        count = len(data.partition(b"\r\n\r\n")[2])
        wire.read_exactly(sock, size - count)
        got.append(size)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        block = bytes(1 << 16)
        for _ in range(1600):
            sock.sendall(block)

    world.worker(serve)
    before = world.gateway.memory
    with world.gateway.connect(60) as sock:
        sock.sendall(
            wire.request(world.root, world.pin(), f"Content-Length: {size}", method="POST")
        )
        block = bytes(1 << 16)
        for _ in range(1600):
            sock.sendall(block)
        data = wire.read_until(sock, b"\r\n\r\n")
        count = len(data.partition(b"\r\n\r\n")[2])
        wire.read_exactly(sock, size - count)
    assert [size] == got
    assert world.gateway.memory - before < 4 << 20


def test_a_slow_reader_stops_the_worker_not_the_memory(world: World, wire: Any) -> None:
    sent = [0]
    stuck = threading.Event()

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n")
        sock.settimeout(1)
        block = bytes(1 << 16)
        while sent[0] < 100_000_000:
            try:
                sent[0] += sock.send(block[: 100_000_000 - sent[0]])
            except TimeoutError:
                stuck.set()

    world.worker(serve)
    before = world.gateway.memory
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin()))
        assert stuck.wait(20)
        assert sent[0] < 50_000_000  # the kernel's buffers, not ours
        assert world.gateway.memory - before < 2 << 20
        assert 200 == world.gateway.get("/__ping__").status
        assert 100_000_000 == len(wire.Answer(sock).body)


def test_a_slow_worker_stops_the_uploader_not_the_memory(world: World, wire: Any) -> None:
    go = threading.Event()

    def serve(sock: socket.socket) -> None:
        data = wire.read_until(sock, b"\r\n\r\n")
        count = len(data.partition(b"\r\n\r\n")[2])
        go.wait(20)
        wire.read_exactly(sock, 50_000_000 - count)
        sock.sendall(OK)

    world.worker(serve)
    before = world.gateway.memory
    with world.gateway.connect() as sock:
        sock.settimeout(1)
        sock.sendall(
            wire.request(world.root, world.pin(), "Content-Length: 50000000", method="POST")
        )
        block = bytes(1 << 16)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 50_000_000:
                sent += sock.send(block[: 50_000_000 - sent])
        assert sent < 50_000_000
        assert world.gateway.memory - before < 2 << 20
        go.set()
        sock.settimeout(15)
        sock.sendall(bytes(50_000_000 - sent))
        assert b"ok" == wire.Answer(sock).body


def test_a_client_that_ends_its_side_still_gets_its_answer(world: World, wire: Any) -> None:
    release = threading.Event()

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        release.wait(10)
        sock.sendall(OK)

    world.worker(serve)
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin()))
        sock.shutdown(socket.SHUT_WR)
        world.gateway.get("/__ping__")  # by now the end has been seen
        release.set()
        answer = wire.Answer(sock)
        assert b"ok" == answer.body
        assert b"" == sock.recv(1)


def test_a_worker_that_closed_its_idle_connection_is_asked_again(world: World, wire: Any) -> None:
    def serve(sock: socket.socket) -> None:
        for count, _ in enumerate(wire.requests(sock)):
            if count == 1:
                return  # takes the second request and closes without an answer
            sock.sendall(OK)

    worker = world.worker(serve)
    with world.gateway.connect() as sock:
        for _ in range(3):
            sock.sendall(wire.request(world.root, world.pin()))
            assert b"ok" == wire.Answer(sock).body
    assert 3 == worker.connections


def test_a_post_is_never_sent_twice(world: World, wire: Any) -> None:
    seen: list[bytes] = []

    def serve(sock: socket.socket) -> None:
        for count, (head, _) in enumerate(wire.requests(sock)):
            seen.append(head)
            if count == 1:
                return
            sock.sendall(OK)

    world.worker(serve)
    with world.gateway.connect() as sock:
        sock.sendall(wire.request(world.root, world.pin()))
        wire.Answer(sock)
        sock.sendall(wire.request(world.root, world.pin(), "Content-Length: 0", method="POST"))
        assert 502 == wire.Answer(sock).status
    assert 2 == len(seen)


def test_an_answer_cut_short_is_cut_short_for_the_client(world: World, wire: Any) -> None:
    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")

    world.worker(serve)
    data = world.gateway.raw(wire.request(world.root, world.pin()))
    assert data.endswith(b"\r\n\r\nabc")


def test_a_worker_that_answers_nonsense_is_a_bad_gateway(world: World, wire: Any) -> None:
    bad = (
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nX: a\r\n folded\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
    )
    answers = list(bad)

    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(answers.pop(0))

    world.worker(serve)
    for data in bad:
        answer = world.gateway.get(world.root, world.pin())
        assert (502, data[:40]) == (answer.status, data[:40])
        assert b"[unavailable]" in answer.body


def test_bytes_beyond_an_answer_never_reach_the_next_request(world: World, wire: Any) -> None:
    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
        sock.recv(1)

    world.worker(serve)
    with world.gateway.connect() as sock:
        for _ in range(3):
            sock.sendall(wire.request(world.root, world.pin()))
            assert b"ok" == wire.Answer(sock).body


def test_an_early_answer_ends_an_upload(world: World, wire: Any) -> None:
    def serve(sock: socket.socket) -> None:
        wire.read_until(sock, b"\r\n\r\n")
        sock.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        with contextlib.suppress(OSError):
            while sock.recv(65536):
                pass

    world.worker(serve)
    with world.gateway.connect() as sock:
        sock.sendall(
            wire.request(world.root, world.pin(), "Content-Length: 9999999", method="POST")
        )
        sock.sendall(bytes(100_000))
        answer = wire.Answer(sock)
    assert (413, b"big") == (answer.status, answer.body)


def test_everything_else_goes_to_the_core(world: World) -> None:
    answer = world.gateway.get(
        "/__api__/v1/content", "Authorization: Key abc", "Cookie: supervisor-session=1",
        method="POST", body=b"",
    )  # fmt: skip
    assert answer.body.startswith(b"POST /__api__/v1/content HTTP/1.1\r\nHost: h\r\n")
    assert b"Authorization: Key abc" in answer.body
    assert b"Cookie: supervisor-session=1" in answer.body
    assert b"X-Forwarded-For: 127.0.0.1" in answer.body


def test_identity_that_a_client_claims_is_removed(world: World) -> None:
    world.worker()
    answer = world.gateway.get(
        world.root,
        "X-Forwarded-For: 9.9.9.9",
        "X_Forwarded_Host: evil",
        "Shiny-Server-Credentials: {}",
        "rstudio_connect_credentials: {}",
        "Posit-Connect-User-Session-Token: t",
        "RStudio-Connect-App-Base-URL: http://evil",
        "X-Real-IP: 9.9.9.9",
        "Forwarded: for=9.9.9.9",
        "Authorization: Key secret",
        "Cookie: a=1; supervisor-session=s; b=2",
        "Connection: X-Secret",
        "X-Secret: x",
        world.pin(),
    )
    lines = answer.body.split(b"\r\n")
    lines = [line for line in lines if not line.startswith(b"X-Request-ID: ")]
    assert [
        b"GET / HTTP/1.1",
        b"Host: h",
        b"Cookie: a=1; b=2",
        b"X-Forwarded-For: 127.0.0.1",
        b"X-Forwarded-Proto: http",
        b"X-Forwarded-Host: h",
        b"X-Forwarded-Prefix: " + world.root.rstrip("/").encode(),
        b"RStudio-Connect-App-Base-URL: http://h" + world.root.encode(),
    ] == [line for line in lines if line]


def test_one_bad_client_leaves_the_others_alone(world: World) -> None:
    world.worker()
    for data in (b"\x16\x03\x01", b"\0" + os.urandom(5000), b"\r\n\r\n", b"G" * 40_000):
        status = world.gateway.raw(data).split(b" ")[1:2]
        assert status in ([b"400"], [b"431"])
    for _ in range(50):
        sock = world.gateway.connect()
        sock.sendall(b"GET / HT")
        sock.close()
    assert 200 == world.gateway.get(world.root, world.pin()).status


def test_a_half_sent_head_times_out_and_idle_stays(world: World, wire: Any) -> None:
    with world.gateway.connect(20) as slow, world.gateway.connect() as idle:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: h\r\n")
        started = time.monotonic()
        assert 408 == wire.Answer(slow).status
        assert 9 < time.monotonic() - started < 13
        idle.sendall(wire.request("/__ping__"))
        assert 200 == wire.Answer(idle).status


def test_a_busy_run_is_reported_in_batches(world: World) -> None:
    world.worker()
    for _ in range(5):
        world.gateway.get(world.root, world.pin())
    message = world.core.until(
        lambda m: (
            m["type"] == "activity"
            and m["runs"].get("01run") == {"sockets": 0, "requests": 0, "total": 5}
        )
    )
    assert "all" not in message
    assert world.core.kinds("activity")[0]["all"] is True
