"""What the command line sets counts in a real server, and what it shows is so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import trio

from tests.support.guests import guests
from tests.support.server import LiveServer, live_server
from tests.system.conftest import BAD

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(needs: Any) -> Iterator[LiveServer]:
    """A real server with one app of two processes with two seats each."""
    needs.root()
    needs.python("shiny")
    with live_server() as running:
        running.deploy(BAD / "python-counts-its-visitors", "counts")
        running.supervisor("set", "counts", "max_conns_per_process=2", "max_processes=2")
        yield running


async def asked(server: LiveServer, *words: str) -> Any:
    return await trio.to_thread.run_sync(partial(server.json, *words))


async def test_seats_the_line_and_the_load_are_shown_as_they_are(server: LiveServer) -> None:
    url = server.url + server.path("counts")
    async with guests([url] * 4) as party:
        first, second = party.invite([url] * 2)
        await party.until(lambda: [1] in (first.places[-1:], second.places[-1:]), 20, "line")
        await party.until(lambda: [2] in (first.places[-1:], second.places[-1:]), 20, "line")
        seats = await asked(server, "sessions", "counts")
        assert ["open"] * 4 + ["waiting"] * 2 == sorted(seat["state"] for seat in seats)
        assert [1, 2] == sorted(seat["position"] for seat in seats if seat["position"])
        taken = [seat for seat in seats if seat["state"] == "open"]
        assert all(seat["bytes_in"] and seat["bytes_out"] for seat in taken)
        runs = await asked(server, "ps")
        assert {run["id"]: run["sessions"] for run in runs} == dict.fromkeys(
            (seat["run"] for seat in taken), 2
        )
        (total,) = await asked(server, "top", "--interval", "0.5")
        assert (2, 2, 4, 4, 2) == (
            total["processes"],
            total["most"],
            total["sessions"],
            total["seats"],
            total["waiting"],
        )
        assert total["memory"] > 50_000_000
        assert total["cpu"] is not None
        await trio.to_thread.run_sync(server.supervisor, "set", "counts", "max_processes=3")
        await party.served(30)
        assert 3 == len(await asked(server, "ps"))
        assert [] == party.cuts()


def test_what_is_set_outlives_the_core(server: LiveServer) -> None:
    changes = ["idle_timeout=90s", "drain_notice=no", "title=Zähler"]
    before = json.loads(server.supervisor("set", "counts", *changes, "--json").stdout)
    server.stop()
    server.start()
    assert before == server.json("set", "counts")
    assert "Zähler" == server.row("list", name="counts")["title"]


def test_what_a_content_may_not_have_is_refused(server: LiveServer) -> None:
    refused = server.supervisor("set", "counts", "max_processes=21", check=False)
    assert (64, True) == (refused.returncode, "MaxProcessesLimit, 20" in refused.stderr)
    assert 3 == server.json("set", "counts")["settings"]["max_processes"]["value"]
