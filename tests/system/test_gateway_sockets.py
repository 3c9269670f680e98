"""The gateway's own identity reaches a content's socket by descriptor, and nothing else of it."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from supervisor import unixsocket

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.getuid() != 0, reason="needs root to be two users at once"),
]
CONTENT, GATEWAY = 61_234, 61_235  # uid of the content; uid and gid of the gateway


def as_gateway(call: Callable[[], object]) -> str:
    """Run a call in a process of the gateway's identity; give the name of what it raised."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(GATEWAY, GATEWAY, GATEWAY)
            os.setresuid(GATEWAY, GATEWAY, GATEWAY)
            call()
            os.write(write, b"connected")
        except BaseException as error:
            os.write(write, type(error).__name__.encode())
        finally:
            os._exit(0)
    os.close(write)
    os.waitpid(pid, 0)
    with open(read, "rb") as pipe:
        return pipe.read().decode()


@pytest.mark.parametrize(
    ("mode", "expected"), [(0o660, "connected"), (0o600, "PermissionError"), (0o666, "connected")]
)
def test_a_worker_of_another_uid_is_reached_if_its_socket_allows_it(
    tmp_path: Path, mode: int, expected: str
) -> None:
    directory = tmp_path / "w"
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(directory / "app.sock"))
        server.listen()
        os.chown(directory / "app.sock", CONTENT, GATEWAY)
        os.chmod(directory / "app.sock", mode)
        os.chown(directory, CONTENT, GATEWAY)
        os.chmod(directory, 0o2710)
        here = os.open(directory, os.O_PATH | os.O_DIRECTORY)
        assert expected == as_gateway(lambda: unixsocket.connect(here, "app.sock", CONTENT))
        os.close(here)


def test_a_socket_of_another_content_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "app.sock"))
        server.listen()
        os.chown(tmp_path / "app.sock", CONTENT + 100, GATEWAY)
        here = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
        assert "SupervisorError" == as_gateway(
            lambda: unixsocket.connect(here, "app.sock", CONTENT)
        )
        os.close(here)
