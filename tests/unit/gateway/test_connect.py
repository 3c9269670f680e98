"""Connections to workers and the core: at once, again, by the helper, or not at all."""

from __future__ import annotations

import array
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from supervisor import unixsocket
from supervisor.gateway.connect import Connector, HelperDoor
from supervisor.gateway.loop import Loop
from supervisor.gateway.sessions import Worker
from supervisor.log import Log


@pytest.fixture
def loop() -> Loop:
    loop = Loop(Log("test", fd=os.open(os.devnull, os.O_WRONLY)))
    loop.later(20, loop.stop)
    return loop


class Caller:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.sock: socket.socket | None = None
        self.refused: tuple[str, str] | None = None

    def plugged(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop.stop()

    def unconnected(self, code: str, reason: str) -> None:
        self.refused = (code, reason)
        self.loop.stop()


def listener(path: Path, kind: int = socket.SOCK_STREAM, backlog: int = 8) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(str(path))
    sock.listen(backlog)
    return sock


def test_a_full_queue_is_tried_again(tmp_path: Path, loop: Loop) -> None:
    with listener(tmp_path / "app.sock", backlog=0) as server:
        here = os.open(tmp_path, os.O_PATH)
        first = unixsocket.connect(here, "app.sock", os.getuid())
        with pytest.raises(BlockingIOError):
            unixsocket.connect(here, "app.sock", os.getuid())
        caller = Caller(loop)
        connector = Connector(loop, "", "")
        connector.open(Worker("01run", b"", "app.sock", os.getuid(), here), caller)
        assert (None, None) == (caller.sock, caller.refused)
        loop.later(0.05, lambda: server.accept()[0].close())
        loop.run()
        assert caller.sock is not None
        caller.sock.close()
        first.close()
        os.close(here)


def test_a_forgotten_caller_hears_nothing(tmp_path: Path, loop: Loop) -> None:
    with listener(tmp_path / "app.sock", backlog=0):
        here = os.open(tmp_path, os.O_PATH)
        first = unixsocket.connect(here, "app.sock", os.getuid())
        caller = Caller(loop)
        connector = Connector(loop, "", "")
        connector.open(Worker("01run", b"", "app.sock", os.getuid(), here), caller)
        connector.forget(caller)
        loop.later(0.1, loop.stop)
        loop.run()
        assert (None, None) == (caller.sock, caller.refused)
        first.close()
        os.close(here)


class Helper:
    """The helper's end of helper-connect.sock: answers one question."""

    def __init__(self, path: Path, answer: dict[str, Any], sock: socket.socket | None) -> None:
        self.asked: list[dict[str, Any]] = []
        self._answer = answer
        self._give = sock
        self._server = listener(path, socket.SOCK_SEQPACKET)

    def serve(self) -> None:
        sock, _ = self._server.accept()
        self.asked = [json.loads(sock.recv(65536)) for _ in range(2)]
        rights = array.array("i", [self._give.fileno()]) if self._give is not None else None
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if rights else []
        message: dict[str, Any] = {"type": "ok", "id": 0, "v": 1}
        sock.send(json.dumps(message).encode())
        message = {**self._answer, "id": self.asked[1]["id"]}
        sock.sendmsg([json.dumps(message).encode()], ancillary)
        self._server.close()
        sock.close()


def test_a_helper_of_another_version_ends_the_question_with_its_word(
    tmp_path: Path, loop: Loop
) -> None:
    server = listener(tmp_path / "helper.sock", socket.SOCK_SEQPACKET)
    caller = Caller(loop)
    HelperDoor(loop, str(tmp_path / "helper.sock")).connect("01run", caller)
    sock, _ = server.accept()
    sock.send(b'{"type": "error", "id": 0, "code": "bad-request", "message": "not version 1"}')
    loop.run()
    assert ("unavailable", "not version 1") == caller.refused
    for one in (server, sock):
        one.close()


def test_the_helper_hands_over_a_socket(tmp_path: Path, loop: Loop) -> None:
    ours, theirs = socket.socketpair()
    helper = Helper(tmp_path / "helper.sock", {"type": "ok"}, theirs)
    caller = Caller(loop)
    door = HelperDoor(loop, str(tmp_path / "helper.sock"))
    door.connect("01run", caller)
    helper.serve()
    loop.run()
    assert ["hello", "connect"] == [message["type"] for message in helper.asked]
    assert "01run" == helper.asked[1]["run"]
    assert caller.sock is not None
    caller.sock.send(b"x")
    assert b"x" == ours.recv(1)
    for sock in (ours, theirs, caller.sock):
        sock.close()


def test_the_helpers_refusal_is_passed_on(tmp_path: Path, loop: Loop) -> None:
    answer = {"type": "error", "code": "socket-swapped", "message": "it is a link"}
    helper = Helper(tmp_path / "helper.sock", answer, None)
    caller = Caller(loop)
    HelperDoor(loop, str(tmp_path / "helper.sock")).connect("01run", caller)
    helper.serve()
    loop.run()
    assert ("socket-swapped", "it is a link") == caller.refused


def test_without_a_helper_there_is_no_connection(tmp_path: Path, loop: Loop) -> None:
    caller = Caller(loop)
    HelperDoor(loop, str(tmp_path / "helper.sock")).connect("01run", caller)
    assert caller.refused is not None
    assert "unavailable" == caller.refused[0]
