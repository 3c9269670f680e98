"""What lies at a content's socket is not the content's: never another app's answer."""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer, live_server
from tests.system.conftest import BAD, EXAMPLES
from tests.system.test_bad_apps import fetch

pytestmark = pytest.mark.system

SECRET = "this is the other app"
OTHER = f"""
from shiny import App, ui
app = App(ui.page_fluid(ui.h1("{SECRET}")), None)
"""
# In its sandbox the app cannot see other apps' sockets, so it links to the path outside.
ENVIRONMENT = """
from pathlib import Path
from supervisor import hookimpl

@hookimpl
def supervisor_environment(content, run):
    target = Path("{base}/target")
    return {{"SWAP_AFTER": "1", "SWAP_TO": target.read_text() if target.exists() else "/nowhere"}}
"""


@pytest.fixture(scope="module")
def server(everything: None) -> Iterator[LiveServer]:
    with live_server(start=False) as made:
        made.python = _with_plugin(made)
        yield made.start()
        nothing_is_left(made)


def _with_plugin(server: LiveServer) -> Path:
    from tests.support.overlay import overlay

    return overlay(server.base / "venv", {"swapping": ENVIRONMENT.format(base=server.base)})


@pytest.fixture(scope="module")
def other(server: LiveServer) -> Path:
    """The socket of an app that must never answer for another one."""
    folder = server.base / "other"
    folder.mkdir()
    (folder / "app.py").write_text(OTHER)
    path = server.deploy(folder, "other")
    assert SECRET in fetch(server, path)[1]
    found = socket_of(server, "other")
    (server.base / "target").write_text(str(found))
    (server.base / "target").chmod(0o644)
    return found


def socket_of(server: LiveServer, name: str) -> Path:
    run: str
    (run,) = (row["id"] for row in server.json("ps") if row["content"]["name"] == name)
    (found,) = (path for path in (server.run_dir / "w" / run).rglob("*.sock") if path.is_socket())
    return found


def a_link(sock: Path, other: Path) -> None:
    sock.symlink_to(other)


def a_relative_link(sock: Path, other: Path) -> None:
    sock.symlink_to(os.path.relpath(other, sock.parent))


def a_file(sock: Path, other: Path) -> None:
    sock.write_text(SECRET)


def a_directory(sock: Path, other: Path) -> None:
    sock.mkdir()


def a_fifo(sock: Path, other: Path) -> None:
    os.mkfifo(sock)


def nothing(sock: Path, other: Path) -> None:
    pass


def a_socket_of_somebody_else(sock: Path, other: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(sock))


SWAPS = (
    a_link, a_relative_link, a_file, a_directory, a_fifo, nothing, a_socket_of_somebody_else,
)  # fmt: skip


@pytest.fixture
def victim(server: LiveServer, other: Path) -> str:
    """The path of an app that runs, with its own socket in its place."""
    if not server.rows("list", name="victim"):
        server.deploy(EXAMPLES / "shiny-python-core", "victim")
    path = server.path("victim")
    assert fetch(server, path)[0] == 200
    return path


@pytest.mark.parametrize("put", SWAPS)
def test_whatever_lies_in_the_place_of_a_socket_gets_no_request(
    server: LiveServer, victim: str, other: Path, put: Callable[[Path, Path], None]
) -> None:
    sock = socket_of(server, "victim")
    aside = sock.with_name("aside")
    sock.rename(aside)
    put(sock, other)
    try:
        answers = [fetch(server, victim, accept) for accept in ("*/*", "text/html")]
    finally:
        _take_away(sock)
        if aside.exists():
            aside.rename(sock)
    for status, text in answers:
        assert SECRET not in text
        assert status in (502, 503, 200)
        if status == 200:  # it was ended and started anew meanwhile
            assert "Old Faithful" in text or "shiny" in text
    if put is not nothing:
        assert "not a socket of uid" in server.log()
        assert all("socket-swapped" in text for status, text in answers if status == 502)
        assert answers[0][0] == 502
    server.until(lambda: fetch(server, victim)[0] == 200, 30, "the app in its place again")


def test_no_name_can_be_given_to_the_socket_of_another_app(
    server: LiveServer, victim: str, other: Path
) -> None:
    with pytest.raises(OSError, match="cross-device") as refused:
        os.link(other, socket_of(server, "victim").with_name("linked"))
    assert errno.EXDEV == refused.value.errno


def _take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.is_symlink() or path.exists():
        path.unlink()


@pytest.mark.parametrize("language", ["r", "python"])
def test_an_app_that_swaps_its_own_socket_for_a_link_never_shows_another_app(
    server: LiveServer, other: Path, language: str
) -> None:
    name = f"{language}-swaps"
    path = server.deploy(BAD / f"{language}-swaps-its-socket", name)
    seen: list[tuple[int, str]] = []

    def refused() -> bool:
        seen.append(fetch(server, path))
        return "socket-swapped" in seen[-1][1]

    server.until(refused, 30, "the refusal")
    assert not any(SECRET in text for _, text in seen)
    assert seen[-1][0] == 502
    server.supervisor("remove", name, "--yes")
    nothing_is_left(server)
