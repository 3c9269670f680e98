"""An app that answers nonsense: its visitor is told, and nobody else gets any of it."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer
from tests.system.conftest import BAD
from tests.system.test_bad_apps import fetch

pytestmark = pytest.mark.system

REFUSED = (
    "noise", "nothing", "half-a-head", "two-lengths", "length-and-chunks", "negative-length",
    "gzip-coding", "null-in-field", "bare-line-feeds", "folded", "endless-head", "many-fields",
    "status-of-four-digits", "http-2", "uninvited-upgrade",
)  # fmt: skip


@pytest.fixture(scope="module")
def app(server: LiveServer) -> Iterator[str]:
    yield server.deploy(BAD / "python-answers-nonsense", "nonsense")
    nothing_is_left(server)


@pytest.mark.parametrize("what", REFUSED)
def test_an_answer_that_can_be_read_in_two_ways_becomes_a_502(
    server: LiveServer, app: str, what: str
) -> None:
    status, text = fetch(server, app + what)

    assert status == 502
    assert "\0" not in text
    assert fetch(server, app + "good")[0] == 200


@pytest.mark.parametrize("what", ["bad-chunk", "short-body"])
def test_an_answer_that_breaks_off_is_cut_off_so_that_the_client_knows(
    server: LiveServer, app: str, what: str
) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(f"GET {app}{what} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while piece := sock.recv(65536):  # it is closed without Connection: close being asked for
            data += piece

    assert not data.endswith(b"0\r\n\r\n")
    assert data.count(b"HTTP/1.1 ") == 1
    assert fetch(server, app + "good")[0] == 200


@pytest.mark.parametrize("what", ["too-much", "before-it-was-asked"])
def test_bytes_beyond_an_answer_reach_nobody(server: LiveServer, app: str, what: str) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        requests = [f"GET {app}{name} HTTP/1.1\r\nHost: x\r\n" for name in (what, *["good"] * 20)]
        sock.sendall("\r\n".join(requests).encode() + b"Connection: close\r\n\r\n")
        data = b""
        while piece := sock.recv(65536):
            data += piece

    assert b"poisoned" not in data
    assert len(re.findall(rb"^HTTP/1\.1 200 ", data, re.MULTILINE)) in (1, 21)
    for _ in range(20):
        assert "poisoned" not in fetch(server, app + "good")[1]
