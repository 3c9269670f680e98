"""Apps that throw, never listen or die, in R and in Python: a reason, and nothing lost by it."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import open_tab
from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer, live_server
from tests.system.conftest import BAD, EXAMPLES

pytestmark = pytest.mark.system

LANGUAGES = ("r", "python")
INIT = "[Scheduler]\nInitTimeout = 5s\n"
# The environment of the apps of tests/content: they run long enough to be looked at, no longer.
ENVIRONMENT = """
from pathlib import Path
from supervisor import hookimpl

FAIL = Path(__file__).with_name("fail")

@hookimpl
def supervisor_environment(content, run):
    return {"DIE_AFTER": "0.5", "FAIL": "yes" if FAIL.exists() else "no"}
"""
SOILED = """
import os, sys
from shiny import App, ui
if os.environ["FAIL"] == "yes":
    out = sys.stdout.buffer
    out.write(b"\\xff\\0\\x1b[2J<script>document.title = 'owned'</script>" + b"x" * 9000)
    raise RuntimeError("<b>bold</b>")
app = App(ui.page_fluid(), None)
"""


@pytest.fixture(scope="module")
def server(everything: None) -> Iterator[LiveServer]:
    with live_server(extra=INIT, plugins={"impatient": ENVIRONMENT}) as running:
        yield running
        nothing_is_left(running)


@pytest.fixture(scope="module")
def good(server: LiveServer) -> str:
    """An app that works, on which bad versions are deployed."""
    path = server.deploy(EXAMPLES / "shiny-python-core", "good")
    assert fetch(server, path)[0] == 200
    return path


def fetch(server: LiveServer, path: str, accept: str = "*/*") -> tuple[int, str]:
    """GET a path and give status and all of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as sock:
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n"
        sock.sendall(head.encode())
        data = b""
        while piece := sock.recv(65536):
            data += piece
    return int(data.split()[1]), data.decode("utf-8", "replace")


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_app_that_throws_at_start_says_so_and_the_old_one_serves_on(
    server: LiveServer, good: str, language: str
) -> None:
    before = server.row("list", name="good")
    pid = server.row("ps")["pid"]

    done = server.supervisor(
        "deploy", str(BAD / f"{language}-throws-at-start"), "--name", "good", check=False
    )

    assert done.returncode == 69
    assert "no database at db.example" in done.stderr
    assert "supervisor: the app did not start: ended with status 1" == done.stderr.splitlines()[-1]
    assert done.stdout == ""
    assert server.row("list", name="good") == before
    assert server.row("ps")["pid"] == pid
    assert fetch(server, good)[0] == 200
    assert "no database at db.example" in _last_log(server)
    nothing_is_left(server)


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_app_that_never_listens_is_ended_after_its_init_timeout(
    server: LiveServer, good: str, language: str
) -> None:
    begun = time.monotonic()

    done = server.supervisor(
        *("deploy", str(BAD / f"{language}-never-listens"), "--name", "good", "--json"), check=False
    )

    assert 5 < time.monotonic() - begun < 20
    assert done.returncode == 69
    assert '"start-too-slow"' in done.stderr
    assert "not ready after 5 s (InitTimeout): it does not listen yet" in done.stderr
    assert "thinking before I listen" in _last_log(server)
    assert fetch(server, good)[0] == 200
    nothing_is_left(server)


def _last_log(server: LiveServer) -> str:
    failed = next(row for row in server.json("ps", "--all") if row["state"] == "failed")
    return server.supervisor("logs", failed["id"]).stdout


@pytest.mark.parametrize("language", LANGUAGES)
def test_an_app_that_dies_after_listening_shows_the_reason_and_its_last_lines(
    server: LiveServer, good: str, language: str, tmp_path: Path
) -> None:
    name = f"{language}-dies"
    path = server.deploy(BAD / f"{language}-dies-after-listening", name)

    def failed() -> bool:
        return "ended with status 3" in fetch(server, path, "text/html")[1]

    server.until(failed, 40, "the failed page")
    status, page = fetch(server, path, "text/html")
    assert status == 503
    assert "start-failed" in page or "gave-up" in page
    assert ("Listening on" if language == "r" else "Application startup complete") in page
    assert fetch(server, path, "application/json")[0] == 503
    assert "[supervisor] ended with status 3" in server.supervisor("logs", name).stdout
    assert server.row("list", name=name)["supervisor"]["reason"] == "ended with status 3"
    if language == "python":
        _look_at_the_page(server, path, tmp_path)
    server.supervisor("remove", name, "--yes")
    assert fetch(server, good)[0] == 200
    nothing_is_left(server)


def _look_at_the_page(server: LiveServer, path: str, folder: Path) -> None:
    with open_tab(width=360, height=640) as tab:
        server.until(lambda: "ended with status 3" in fetch(server, path, "text/html")[1], 40)
        tab.page.goto(server.url + path, wait_until="commit")
        tab.page.get_by_text("ended with status 3").first.wait_for(timeout=20_000)
        tab.screenshot(Path(os.environ.get("SCREENSHOTS", folder)) / "failed.png")
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_what_an_app_printed_is_text_on_the_failed_page(server: LiveServer) -> None:
    (folder := server.base / "soiled").mkdir()
    (folder / "app.py").write_text(SOILED)
    path = server.deploy(folder, "soiled")
    (site,) = (server.base / "venv").glob("lib/python*/site-packages")
    (site / "fail").touch()
    server.supervisor("restart", "soiled")

    server.until(lambda: "bold" in fetch(server, path, "text/html")[1], 20, "the failed page")

    page = fetch(server, path, "text/html")[1]
    assert "RuntimeError: &lt;b&gt;bold&lt;/b&gt;" in page
    assert "<script>document.title" not in page
    assert not any(ord(character) < 32 for character in page.replace("\n", "").replace("\r", ""))
    assert len(page) < 64 * 1024
    (site / "fail").unlink()
    server.supervisor("restart", "soiled")
    server.until(lambda: fetch(server, path)[0] == 200, 20, "it is mended")
    server.supervisor("remove", "soiled", "--yes")
    nothing_is_left(server)
