"""Malformed, smuggled, oversized and half-open HTTP against the real gateway and a real app."""

from __future__ import annotations

import json
import re
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer
from tests.system.conftest import BAD

pytestmark = pytest.mark.system

SECOND = b"GET %bsmuggled HTTP/1.1\r\nHost: x\r\n\r\n"
IDLE = 500
MEGABYTE = 1024 * 1024


class App:
    """The app behind the gateway, and raw connections to it."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.path = server.deploy(BAD / "python-tells-what-it-saw", "seeing").encode()
        self.second = SECOND % self.path

    def connect(self) -> socket.socket:
        """Open a connection to the gateway."""
        return socket.create_connection(("127.0.0.1", self.server.port), timeout=20)

    def talk(self, data: bytes, *, half_close: bool = False) -> bytes:
        """Send bytes as they are and give all that comes back until the connection is closed."""
        with self.connect() as sock:
            sock.sendall(data)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
            return until_closed(sock)

    def get(self, what: str) -> bytes:
        """GET one path of the app and give the body."""
        line = b"GET %b%b HTTP/1.1\r\n" % (self.path, what.encode())
        answer = self.talk(line + b"Host: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 "), answer[:300]
        return answer.partition(b"\r\n\r\n")[2]

    def seen(self) -> list[str]:
        """Every request that the app has seen, but those for this list."""
        found: list[str] = json.loads(self.get("seen"))
        return found

    def memory(self) -> int:
        """Bytes that the gateway holds."""
        return int(psutil.Process(self.server.gateway).memory_info().rss)


def until_closed(sock: socket.socket) -> bytes:
    """Give all that comes; a reset is an end too."""
    data = b""
    try:
        while piece := sock.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def status(answer: bytes) -> int:
    """Give the status of the one answer that is there; more than one would be a smuggled one."""
    (found,) = re.findall(rb"^HTTP/1\.1 ([0-9]{3}) ", answer, re.MULTILINE)
    return int(found)


@pytest.fixture(scope="module")
def app(server: LiveServer) -> Iterator[App]:
    yield App(server)
    nothing_is_left(server)


def head(line: bytes = b"POST {path}first HTTP/1.1", *fields: bytes) -> bytes:
    """Write a head; every request has a Host unless the first field is b""."""
    given = fields[1:] if fields[:1] == (b"",) else (b"Host: x", *fields)
    return b"\r\n".join((line, *given, b"", b""))


GET = b"GET {path}first HTTP/1.1"
POST = b"POST {path}first HTTP/1.1"
CL, TE = b"Content-Length: 4", b"Transfer-Encoding: chunked"

REFUSED = {
    "length and chunks": (400, head(POST, CL, TE) + b"0\r\n\r\n"),
    "chunks and length": (400, head(POST, TE, CL) + b"0\r\n\r\n"),
    "two lengths": (400, head(POST, CL, b"Content-Length: 0") + b"abcd"),
    "twice the same length": (400, head(POST, CL, CL) + b"abcd"),
    "a list of lengths": (400, head(POST, b"Content-Length: 4, 4") + b"abcd"),
    "a length with a sign": (400, head(POST, b"Content-Length: +4") + b"abcd"),
    "a negative length": (400, head(POST, b"Content-Length: -1")),
    "a hexadecimal length": (400, head(POST, b"Content-Length: 0x4") + b"abcd"),
    "an empty length": (400, head(POST, b"Content-Length:") + b"abcd"),
    "a length beyond all numbers": (400, head(POST, b"Content-Length: " + b"9" * 40)),
    "chunks, spelled otherwise": (400, head(POST, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n"),
    "chunks and identity": (400, head(POST, b"Transfer-Encoding: chunked, identity")),
    "identity": (400, head(POST, b"Transfer-Encoding: identity", CL) + b"abcd"),
    "gzip and chunks": (400, head(POST, b"Transfer-Encoding: gzip, chunked")),
    "chunks twice": (400, head(POST, TE, TE) + b"0\r\n\r\n"),
    "chunks, quoted": (400, head(POST, b'Transfer-Encoding: "chunked"')),
    "chunks after a vertical tab": (400, head(POST, b"Transfer-Encoding: \x0bchunked")),
    "a space before the colon": (400, head(POST, b"Transfer-Encoding : chunked", CL) + b"abcd"),
    "a folded coding": (400, head(POST, b"Transfer-Encoding:\r\n chunked", CL) + b"abcd"),
    "a coding after a bare line feed": (400, head(POST, b"X: y\nTransfer-Encoding: chunked", CL)),
    "a length after a bare return": (400, head(GET, b"X: y\rContent-Length: 4")),
    "chunks in HTTP/1.0": (400, head(POST.replace(b"1.1", b"1.0"), TE) + b"0\r\n\r\n"),
    "a length that Connection names": (400, head(POST, b"Connection: content-length", CL)),
    "a folded field": (400, head(GET, b"X: y\r\n z: w")),
    "a line feed for a line end": (400, head(GET).replace(b"\r\n", b"\n") + b"\r\n\r\n"),
    "two hosts": (400, head(GET, b"Host: y")),
    "no host": (400, head(GET, b"")),
    "a host with a path": (400, head(GET, b"", b"Host: x/y")),
    "a null in a value": (400, head(GET, b"X: a\0b")),
    "a null in a name": (400, head(GET, b"X\0Y: a")),
    "a null in the target": (400, head(b"GET {path}\0 HTTP/1.1")),
    "a name that is empty": (400, head(GET, b": y")),
    "a field without a colon": (400, head(GET, b"nonsense")),
    "a space in the target": (400, head(b"GET {path}a b HTTP/1.1")),
    "two spaces": (400, head(b"GET  {path}first HTTP/1.1")),
    "a method in lower case": (400, head(b"get {path}first HTTP/1.1")),
    "another host in the target": (400, head(b"GET http://y{path}first HTTP/1.1")),
    "CONNECT": (400, head(b"CONNECT x:80 HTTP/1.1")),
    "HTTP/1.2": (505, head(b"GET {path}first HTTP/1.2")),
    "HTTP/0.9": (400, b"GET {path}first\r\n\r\n"),
    "the preface of HTTP/2": (505, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "TLS": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64),
    "an empty line first": (400, b"\r\n" + head(GET)),
    "noise": (400, bytes(range(128, 256)) * 4),
    "an expectation": (417, head(POST, b"Expect: a-miracle", CL) + b"abcd"),
    "a head over 32 KiB": (431, head(GET, b"X: " + b"y" * 40_000)),
    "a request line over 32 KiB": (431, head(b"GET {path}" + b"y" * 40_000 + b" HTTP/1.1")),
    "a head of 40 KB that does not end": (431, GET + b"\r\nX: " + b"y" * 40_000),
    "101 fields": (431, head(GET, *[b"X: y"] * 101)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_head_that_can_be_read_in_two_ways_is_refused_and_closed(app: App, what: str) -> None:
    expected, data = REFUSED[what]
    before = app.seen()

    answer = app.talk(data.replace(b"{path}", app.path) + app.second, half_close=True)

    assert expected == status(answer)
    assert before == app.seen()


BAD_BODIES = {
    "a size that is no number": b"zz\r\nabcd\r\n0\r\n\r\n",
    "a negative size": b"-4\r\nabcd\r\n0\r\n\r\n",
    "a size with a prefix": b"0x4\r\nabcd\r\n0\r\n\r\n",
    "a size beyond all numbers": b"f" * 32 + b"\r\nabcd",
    "a size after a bare line feed": b"4\nabcd\n0\n\n",
    "data longer than its size": b"4\r\nabcdef\r\n0\r\n\r\n",
    "an endless extension": b"4;" + b"x" * 20_000 + b"\r\nabcd\r\n0\r\n\r\n",
    "endless trailers": b"0\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
}


@pytest.mark.parametrize("what", BAD_BODIES)
def test_a_malformed_body_is_the_last_thing_that_its_connection_brings(app: App, what: str) -> None:
    data = head(POST, TE).replace(b"{path}", app.path) + BAD_BODIES[what]

    answer = app.talk(data + app.second)

    assert answer == b"" or status(answer) == 400
    assert not any("smuggled" in one for one in app.seen())


def test_what_follows_a_request_is_a_request_of_its_own(app: App) -> None:
    """Pipelining works: the tests above would prove nothing if a second request never passed."""
    first = head(POST, CL).replace(b"{path}", app.path) + b"abcd"
    second = head(GET.replace(b"first", b"after"), b"Connection: close").replace(
        b"{path}", app.path
    )
    before = len(app.seen())

    answer = app.talk(first + second)

    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert ["POST /first", "GET /after"] == app.seen()[before:]


def test_a_client_that_has_said_all_and_closes_its_side_gets_its_answer(app: App) -> None:
    data = head(GET).replace(b"{path}", app.path)

    assert status(app.talk(data, half_close=True)) == 200


@pytest.mark.parametrize(
    "data", [b"", b"GE", head(GET)[:-2], head(POST, CL) + b"ab", head(POST, TE) + b"4\r\nab"]
)
def test_a_client_that_closes_its_side_too_early_is_closed(app: App, data: bytes) -> None:
    answer = app.talk(data.replace(b"{path}", app.path), half_close=True)

    assert answer == b"" or status(answer) == 400
    assert app.get("after") == b"0"


def test_a_client_that_is_reset_in_the_middle_harms_nobody(app: App) -> None:
    for data in (b"GE", head(GET), head(POST, CL) + b"ab", head(GET.replace(b"first", b"big"))):
        sock = app.connect()
        sock.sendall(data.replace(b"{path}", app.path))
        if b"big" in data:
            sock.recv(1000)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()

    assert app.get("after") == b"0"
    until(lambda: _open_requests(app.server) == 0, 10)


def _open_requests(server: LiveServer) -> int:
    return sum(row["sessions"] for row in server.json("ps"))


def test_slow_heads_stalled_readers_and_idle_connections_hold_up_nobody(app: App) -> None:
    """All at once, since each takes its time: 500 idle, 10 slow heads, 20 that stop reading."""
    with ExitStack() as stack:
        begun = time.monotonic()
        idle = [stack.enter_context(app.connect()) for _ in range(IDLE)]
        slow = [stack.enter_context(app.connect()) for _ in range(10)]
        stalled = [stack.enter_context(app.connect()) for _ in range(20)]
        for sock in slow:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
        big = head(GET.replace(b"first", b"big")).replace(b"{path}", app.path)
        for sock in stalled:
            sock.sendall(big)
        slowest = 0.0
        while time.monotonic() < begun + 8:
            for sock in slow:
                sock.sendall(b"y")  # a byte now and then is no progress
            asked = time.monotonic()
            assert app.get("first") == b"0"
            slowest = max(slowest, time.monotonic() - asked)
            time.sleep(0.1)
        assert app.memory() < 128 * MEGABYTE, "20 readers of 64 MB that do not read"
        assert slowest < 1.0

        for sock in slow:
            answer = until_closed(sock)
            assert status(answer) == 408
        assert 9 < time.monotonic() - begun < 20, "a head may take ten seconds"
        for sock in idle:
            sock.sendall(b"GET /__ping__ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")
        body = 64 * MEGABYTE
        whole = b""
        with stalled[0] as sock:  # it goes on where it stopped
            count = 0
            while count < body and (piece := sock.recv(1 << 20)):
                whole = whole or piece.partition(b"\r\n\r\n")[0]
                count += len(piece)
        assert count == body + len(whole) + 4
    until(lambda: app.memory() < 96 * MEGABYTE, 10)


def until(true: Callable[[], bool], seconds: float) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.05)
