"""`supervisor set CONTENT run_as=ACCOUNT`: the processes have its uid, the sessions go on."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

import pytest
import trio

from tests.support.server import LiveServer, live_server
from tests.support.sessions import open_sessions
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system
ACCOUNT = pwd.getpwnam("www-data")


@pytest.fixture(scope="module")
def server(everything: None) -> Iterator[LiveServer]:
    """A server that lets www-data be given to a content."""
    with live_server(extra="[Applications]\nSharedRunAsUnixGroup = www-data\n") as running:
        yield running


def uids(server: LiveServer) -> dict[int, str]:
    """Give whose each process is that serves or drains, and its state."""
    return {os.stat(f"/proc/{row['pid']}").st_uid: row["state"] for row in server.json("ps")}


async def test_an_app_is_given_an_account_and_back_while_a_session_stays_open(
    server: LiveServer,
) -> None:
    path = await trio.to_thread.run_sync(server.deploy, EXAMPLES / "shiny-r-hello", "hello")
    async with open_sessions([(server.url + path, "double")]) as (old,):
        own = next(iter(uids(server)))
        assert own >= 300_000
        await trio.to_thread.run_sync(server.supervisor, "set", "hello", "run_as=www-data")
        async with open_sessions([(server.url + path, "double")]) as (new,):
            await old.answers(3)
            await new.answers(4)
            assert {own, ACCOUNT.pw_uid} == set(uids(server))
        await trio.to_thread.run_sync(server.supervisor, "set", "hello", "run_as=default")
        await old.answers(5)


@pytest.mark.parametrize(
    ("name", "why"),
    [("games", "not a member"), ("root", "is root"), ("no-such-one", "no account")],
)
def test_other_accounts_are_refused_and_nothing_changes(
    server: LiveServer, name: str, why: str
) -> None:
    before = server.json("set", "hello")["settings"]
    done = server.supervisor("set", "hello", f"run_as={name}", check=False)
    assert 77 == done.returncode
    assert why in done.stderr
    assert before == server.json("set", "hello")["settings"]
