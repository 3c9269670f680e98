"""A real server reads its settings again: sessions and processes stay, contents feel it at once."""

from __future__ import annotations

import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.support.server import LiveServer, live_server
from tests.support.sessions import open_sessions

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def written(server: LiveServer) -> str:
    """The file as the server was started with."""
    return server.config.read_text()


@pytest.fixture(autouse=True)
def _as_it_was(server: LiveServer, written: str) -> Iterator[None]:
    yield
    server.config.write_text(written)
    server.supervisor("config", "reload")


def shown(server: LiveServer, name: str) -> tuple[list[str], str]:
    [row] = json.loads(server.supervisor("config", "show", name, "--json").stdout)
    return row["values"], row["origin"]


def processes(server: LiveServer) -> tuple[object, ...]:
    runs = sorted(row["pid"] for row in server.json("ps"))
    return server.parent, server.core, server.gateway, server.helper, runs


async def test_scaling_changes_under_open_sessions_and_no_process_is_replaced(
    server: LiveServer, python_app: str, written: str
) -> None:
    async with open_sessions([(server.url + python_app, "total")] * 2) as sessions:
        before = await trio.to_thread.run_sync(processes, server)
        server.config.write_text(f"{written}[Scheduler]\nMinProcesses = 2\nLoadFactor = 1\n")
        done = await trio.to_thread.run_sync(server.supervisor, "config", "reload")

        assert "in force now: Scheduler.MinProcesses, Scheduler.LoadFactor." in done.stderr
        await trio.to_thread.run_sync(
            lambda: server.until(lambda: len(server.json("ps")) == 2, 30, "a second process")
        )
        for one in sessions:
            assert one.session.is_open
            await one.answers(20)
        after = await trio.to_thread.run_sync(processes, server)
        assert before[:4] == after[:4]
        assert set(before[4]) < set(after[4])  # type: ignore[call-overload]
    line = len(written.splitlines()) + 2
    assert (["2"], f"{server.config}:{line}") == shown(server, "Scheduler.MinProcesses")


def test_what_waits_is_named_and_not_in_force(server: LiveServer, written: str) -> None:
    server.config.write_text(
        written.replace("UidLast = 399999", "UidLast = 399998")
        .replace("UidFirst = 300000", "UidFirst = 300001")
    )  # fmt: skip
    done = server.supervisor("config", "reload")

    assert "wait for `supervisor reload`: Applications.UidLast." in done.stderr
    assert "wait for a restart of the server: Applications.UidFirst." in done.stderr
    assert (["399999"], ["300000"]) == (
        shown(server, "Applications.UidLast")[0],
        shown(server, "Applications.UidFirst")[0],
    )


def test_a_file_that_does_not_hold_says_where_and_changes_nothing(
    server: LiveServer, written: str
) -> None:
    server.config.write_text(f"{written}[Scheduler]\nMinProcesses = 1\nIdleTimeout = 5\n")
    done = server.supervisor("config", "reload", check=False)

    assert 78 == done.returncode
    line = len(written.splitlines()) + 3
    assert f"{server.config}:{line}:15: IdleTimeout: 5 without a unit" in done.stderr
    assert (["0"], "default") == shown(server, "Scheduler.MinProcesses")


def test_hanging_up_does_the_same(server: LiveServer, written: str) -> None:
    gateway = server.gateway
    server.config.write_text(f"{written}[Logging]\nServiceLogLevel = debug\n")
    assert server.process is not None
    server.process.send_signal(signal.SIGHUP)

    server.until(
        lambda: shown(server, "Logging.ServiceLogLevel")[0] == ["debug"], 10, "the new level"
    )
    assert gateway == server.gateway


def test_pages_change_without_a_new_gateway(server: LiveServer, written: str) -> None:
    folder = Path(server.base, "pages")
    folder.mkdir()
    Path(folder, "missing.html").write_text("<title>Nothing to see</title>")
    server.config.write_text(f"{written}[Pages]\nTemplates = {folder}\n")
    gateway = server.gateway
    server.supervisor("config", "reload")

    nothing = urllib.request.Request(
        f"{server.url}/content/{'0' * 36}/", headers={"Accept": "text/html"}
    )
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(nothing, timeout=10)
    assert "Nothing to see" in answer.value.read().decode()
    assert gateway == server.gateway


def test_secrets_are_not_shown_and_come_from_files() -> None:
    with live_server(
        extra="[Postgres]\nPasswordFile = /nowhere\n[Moon]\nApiKey = hunter2\n"
    ) as one:
        rows = one.json("config", "show", "--set")

        assert "hunter2" not in str(rows)
        assert ["(secret)"] == next(row["values"] for row in rows if row["key"] == "ApiKey")
        assert "no loaded plugin has a section [Moon]" in one.log()
