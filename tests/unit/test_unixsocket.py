"""A run's socket is reached by descriptor, and nothing else that lies under its name."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supervisor import unixsocket
from supervisor.errors import SupervisorError

UID = os.geteuid()


@pytest.fixture
def directory() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="s", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def fd(directory: Path) -> Iterator[int]:
    opened = unixsocket.open_directory(str(directory))
    yield opened
    os.close(opened)


def listen(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(1)
    return sock


def test_a_socket_of_the_content_is_connected(directory: Path, fd: int) -> None:
    server = listen(directory / "app.sock")
    with server, unixsocket.connect(fd, "app.sock", UID) as client:
        accepted, _ = server.accept()
        with accepted:
            accepted.sendall(b"hello")
            client.setblocking(True)
            assert b"hello" == client.recv(10)


def test_the_length_of_the_path_does_not_matter(directory: Path) -> None:
    deep = directory.joinpath(*["x" * 100] * 5)
    deep.mkdir(parents=True)
    here = os.open(".", os.O_RDONLY)
    os.chdir(deep)
    try:
        server = listen(Path("app.sock"))
    finally:
        os.fchdir(here)
        os.close(here)
    opened = unixsocket.open_directory(str(deep))
    with server:
        unixsocket.connect(opened, "app.sock", UID).close()
    os.close(opened)


def test_nothing_there_yet_is_not_found(fd: int) -> None:
    with pytest.raises(FileNotFoundError):
        unixsocket.connect(fd, "app.sock", UID)


def test_nobody_listening_is_refused(directory: Path, fd: int) -> None:
    listen(directory / "app.sock").close()
    with pytest.raises(ConnectionRefusedError):
        unixsocket.connect(fd, "app.sock", UID)


def test_a_full_queue_blocks(directory: Path, fd: int) -> None:
    clients = []

    def fill() -> None:
        for _ in range(20):
            clients.append(unixsocket.connect(fd, "app.sock", UID))

    with listen(directory / "app.sock"), pytest.raises(BlockingIOError):
        fill()
    for client in clients:
        client.close()


@pytest.mark.parametrize("kind", ["a link", "a file", "a directory", "something else"])
def test_what_is_no_socket_is_refused_by_name(directory: Path, fd: int, kind: str) -> None:
    other = listen(directory / "other.sock")
    path = directory / "app.sock"
    match kind:
        case "a link":
            path.symlink_to("other.sock")
        case "a file":
            path.write_text("x")
        case "a directory":
            path.mkdir()
        case _:
            os.mkfifo(path)
    before = len(os.listdir("/proc/self/fd"))
    with other, pytest.raises(SupervisorError, match=f"is {kind}, not a socket") as caught:
        unixsocket.connect(fd, "app.sock", UID)
    assert "socket-swapped" == caught.value.code
    assert before - 1 == len(os.listdir("/proc/self/fd"))


def test_a_socket_of_a_foreign_uid_is_refused(directory: Path, fd: int) -> None:
    with listen(directory / "app.sock"), pytest.raises(SupervisorError, match=f"uid {UID}"):
        unixsocket.connect(fd, "app.sock", UID + 1)


def test_a_link_to_a_directory_is_not_opened(directory: Path) -> None:
    (directory / "real").mkdir()
    (directory / "link").symlink_to("real")
    with pytest.raises(NotADirectoryError):
        unixsocket.open_directory(str(directory / "link"))


def test_a_directory_that_was_replaced_is_not_followed(directory: Path) -> None:
    (directory / "w").mkdir()
    opened = unixsocket.open_directory(str(directory / "w"))
    (directory / "w").rename(directory / "old")
    (directory / "w").mkdir()
    with listen(directory / "w" / "app.sock"), pytest.raises(FileNotFoundError):
        unixsocket.connect(opened, "app.sock", UID)
    os.close(opened)


@pytest.mark.parametrize("name", ["", ".", "..", "../app.sock", "/etc/passwd"])
def test_names_that_lead_elsewhere_are_refused(fd: int, name: str) -> None:
    with pytest.raises(SupervisorError) as caught:
        unixsocket.connect(fd, name, os.getuid())
    assert "socket-swapped" == caught.value.code
