"""An app that answers and works on: kept while it has declared that, ended like any other after."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.server import LiveServer, live_server
from tests.system.conftest import BAD

pytestmark = pytest.mark.system

APP = "python-works-after-its-answer"
SCALING = "[Scheduler]\nIdleTimeout = 1s\n"
KEPT, WORKS = 3, 5  # seconds


@pytest.fixture(scope="module")
def server(needs: Any) -> Iterator[LiveServer]:
    needs.root()
    needs.python("shiny")
    with live_server(extra=SCALING) as running:
        running.deploy(BAD / APP, APP)
        yield running


def ask(server: LiveServer, what: str) -> tuple[int, list[str]]:
    """POST to a path of the app; give the status and the names of the fields of the answer."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        client.request("POST", server.path(APP) + what)
        answer = client.getresponse()
        return answer.status, [name.lower() for name, _ in answer.getheaders()]
    finally:
        client.close()


def until_it_has_ended(server: LiveServer) -> None:
    server.until(lambda: not server.rows("ps"), 30, "no process")


def test_a_process_is_kept_while_it_says_so_and_without_a_word_it_ends(
    server: LiveServer,
) -> None:
    assert 202 == ask(server, "nothing")[0]
    until_it_has_ended(server)
    status, names = ask(server, "3600")
    assert (202, False) == (status, "supervisor-busy" in names)
    (kept,) = server.rows("ps")
    time.sleep(KEPT)
    assert [kept["id"]] == [run["id"] for run in server.rows("ps")]
    asked = time.monotonic()
    assert 202 == ask(server, str(WORKS))[0]  # by the same process, whose last word counts
    until_it_has_ended(server)
    assert time.monotonic() - asked >= WORKS
