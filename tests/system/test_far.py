"""Local and remote content on one server: reached, adopted, away, and back."""

from __future__ import annotations

import os
import socket
import urllib.request
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.far import PLUGIN
from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer, gone, kill, live_server
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system

UPGRADE = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: a2V5\r\n"


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    if os.geteuid() != 0:
        pytest.skip("needs root: ./dev test as root runs the system tests")
    with live_server(plugins={"far": PLUGIN}) as running:
        running.deploy(EXAMPLES / "shiny-python-core", "here")
        running.deploy(EXAMPLES / "shiny-python-core", "there")
        running.supervisor("set", "there", "executor=far")
        yield running
        running.supervisor("stop", "there")
        running.until(lambda: not running.rows("ps", executor="far"), 20)
        nothing_is_left(running)


def get(server: LiveServer, name: str) -> str:
    with urllib.request.urlopen(server.url + server.path(name), timeout=30) as answer:
        text: str = answer.read().decode()
        return text


def far_pid(server: LiveServer) -> int:
    """The pid that answers for the remote content, once one does."""
    server.until(lambda: get(server, "there").startswith("far "), 30)
    return int(get(server, "there").split()[1])


@pytest.fixture
def session(server: LiveServer) -> Iterator[socket.socket]:
    """An open WebSocket to the remote content, echoed there."""
    far_pid(server)
    with closing(socket.create_connection(("127.0.0.1", server.port), 20)) as sock:
        head = f"GET {server.path('there')}ws HTTP/1.1\r\nHost: h\r\n{UPGRADE}\r\n"
        sock.sendall(head.encode())
        assert b" 101 " in sock.recv(65536)
        yield sock


def echoes(sock: socket.socket) -> bool:
    frame = b"\x81\x84\0\0\0\0ping"
    sock.sendall(frame)
    return frame == sock.recv(65536)


def test_local_and_remote_content_are_served_side_by_side(server: LiveServer) -> None:
    assert far_pid(server) > 0
    assert "far" not in get(server, "here").split()
    assert {"far", "unshare"} == {run["executor"] for run in server.json("ps")}


def test_no_session_closes_and_nothing_starts_twice_when_the_core_is_killed(
    server: LiveServer, session: socket.socket
) -> None:
    pid, core = far_pid(server), server.core
    kill(core)
    assert echoes(session)
    server.until(lambda: server.core not in (None, core), 30)
    server.until(lambda: server.supervisor("list", check=False).returncode == 0, 30)
    server.until(lambda: pid == far_pid(server), 30)
    assert echoes(session)
    assert pid == int(server.row("ps", executor="far")["pid"])


def test_an_executor_that_is_away_harms_no_other_and_comes_back(
    server: LiveServer, session: socket.socket
) -> None:
    pid = far_pid(server)
    away = server.run_dir / "core" / "far" / "away"
    away.touch()
    server.until(lambda: "far' is away" in server.supervisor("ps").stdout, 20)
    assert "nobody answers there" in server.supervisor("doctor", check=False).stdout
    assert echoes(session)
    assert "far" not in get(server, "here").split()
    core = server.core
    kill(core)
    server.until(lambda: server.core not in (None, core), 30)
    server.until(lambda: server.supervisor("list", check=False).returncode == 0, 60)
    assert "far" not in get(server, "here").split()
    assert echoes(session)
    away.unlink()
    server.until(lambda: "far' is away" not in server.supervisor("ps").stdout, 20)
    assert pid == far_pid(server)


def test_a_process_that_is_gone_while_no_core_looks_is_replaced(server: LiveServer) -> None:
    pid = far_pid(server)
    kill(server.core)
    kill(pid)
    assert gone([pid], 10)
    server.until(lambda: server.supervisor("list", check=False).returncode == 0, 30)
    assert pid != far_pid(server)
