"""A process that computes: it is given no new visitor, and kept without any while it says so."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator

import pytest

from tests.support import computing
from tests.support.server import LiveServer, live_server
from tests.system.conftest import BAD

pytestmark = pytest.mark.system

ENDLESS = 3600.0  # seconds: who waited for it would never be served
API = "python-works-after-its-answer"
KEPT, WORKS = 3, 5  # seconds, more than IdleTimeout


@pytest.fixture(scope="module")
def server(everything: None) -> Iterator[LiveServer]:
    """A server whose processes end after a second without use."""
    with live_server(extra=computing.SCALING) as running:
        yield running


async def test_a_second_visitor_is_served_while_the_only_process_computes_without_end(
    server: LiveServer,
) -> None:
    found = await computing.waits(server, computing.deploy(server), computes=ENDLESS)
    print(f"cold {found.cold:.2f} s, while another computes {found.busy:.2f} s")


def test_a_process_is_kept_while_it_says_that_it_works_and_without_a_word_it_ends(
    server: LiveServer,
) -> None:
    path = server.deploy(BAD / API, API)
    assert 202 == ask(server, path + "nothing")[0]
    until_it_has_ended(server)
    status, names = ask(server, path + "3600")
    assert (202, False) == (status, "supervisor-busy" in names)
    (kept,) = server.rows("ps")
    time.sleep(KEPT)
    assert [kept["id"]] == [run["id"] for run in server.rows("ps")]
    asked = time.monotonic()
    assert 202 == ask(server, f"{path}{WORKS}")[0]  # by the same process, whose last word counts
    until_it_has_ended(server)
    assert time.monotonic() - asked >= WORKS


def ask(server: LiveServer, path: str) -> tuple[int, list[str]]:
    """POST to a path; give the status and the names of the fields of the answer."""
    client = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    try:
        client.request("POST", path)
        answer = client.getresponse()
        return answer.status, [name.lower() for name, _ in answer.getheaders()]
    finally:
        client.close()


def until_it_has_ended(server: LiveServer) -> None:
    server.until(lambda: not server.rows("ps"), 30, "no process")
