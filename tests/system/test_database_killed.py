"""The database is killed under load: nothing acknowledged is lost, sessions go on, facts follow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from supervisor.cli.client import Client
from supervisor.errors import SupervisorError
from tests.support.postgres import Postgres, new_postgres
from tests.support.server import LiveServer, kill, live_server
from tests.support.sessions import open_sessions
from tests.system.conftest import BAD, EXAMPLES

pytestmark = pytest.mark.system
ROUNDS = 4


@pytest.fixture(scope="module")
def database(needs: Any) -> Iterator[Postgres]:
    needs.root()
    needs.python("shiny")
    needs.postgres()
    with new_postgres() as postgres:
        yield postgres


@pytest.fixture(scope="module")
def server(database: Postgres) -> Iterator[LiveServer]:
    extra = f'[Database]\nProvider = postgres\n[Postgres]\nURL = "{database.new_database()}"\n'
    with live_server(extra=extra) as running:
        yield running


@pytest.fixture(scope="module")
def app(server: LiveServer) -> str:
    return server.deploy(EXAMPLES / "shiny-python-core", "app")


class Publishers:
    """Threads that make contents, change one and deploy another, all the time.

    made: the names that were acknowledged; titles: of "app", in the order of their acknowledgement;
    refusals: the codes of all other answers; deployed: how many deployments were; undone: what the
    others were told.
    """

    def __init__(self, server: LiveServer) -> None:
        self.made: list[str] = []
        self.titles: list[str] = []
        self.refusals: list[str] = []
        self.deployed = 0
        self.undone: list[str] = []
        self.statuses: set[int] = set()
        self._server = server
        self._ending = threading.Event()
        writers = [threading.Thread(target=self._work, args=(number,)) for number in range(4)]
        self._threads = [*writers, threading.Thread(target=self._deploy)]

    def __enter__(self) -> Publishers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _deploy(self) -> None:
        folder = str(BAD / "python-accepts-anything")
        while not self._ending.is_set():
            done = self._server.supervisor("deploy", folder, "--name", "deployed", check=False)
            if done.returncode == 0:
                self.deployed += 1
            else:
                self.undone.append(f"{done.returncode} {done.stdout} {done.stderr}")

    def _work(self, worker: int) -> None:
        with Client(self._server.run_dir / "core.sock", patience=60.0) as client:
            for number in range(10**6):
                if self._ending.is_set():
                    return
                try:
                    if worker == 0:
                        title = f"title {number}"
                        client.patch("/v1/content/app", {"title": title})
                        self.titles.append(title)
                    else:
                        name = f"made-{worker}-{number}"
                        client.post("/v1/content", {"name": name})
                        self.made.append(name)
                    time.sleep(0.02)  # leave deployments their share of the machine
                except SupervisorError as error:
                    self.refusals.append(error.code)
                    self.statuses.add(error.http_status)
                    time.sleep(0.05)


def stored(database: Postgres, server: LiveServer, query: str) -> list[Any]:
    """Ask the server's own database."""
    url = next(line for line in server.config.read_text().splitlines() if line.startswith("URL"))
    return database.execute(query, url.partition("=")[2].strip().strip('"'))


def ready_runs(server: LiveServer) -> list[dict[str, Any]]:
    return [row for row in server.rows("ps", state="ready") if row["content"]["name"] == "app"]


def spilled(server: LiveServer) -> list[Path]:
    return list((server.run_dir / "core").glob("spill-*"))


def names(database: Postgres, server: LiveServer) -> set[str]:
    return {row[0] for row in stored(database, server, "SELECT name FROM contents")}


async def until(server: LiveServer, true: Callable[[], bool]) -> None:
    await trio.to_thread.run_sync(server.until, true, 60.0)


async def refusals_come(server: LiveServer, publishers: Publishers) -> None:
    before = len(publishers.refusals)
    await until(server, lambda: len(publishers.refusals) > before)


async def writes_go_on(server: LiveServer, publishers: Publishers) -> None:
    """Wait for more writes of both kinds, and until something is deployed."""
    made, titles = len(publishers.made) + 20, len(publishers.titles) + 2
    await until(server, lambda: len(publishers.made) >= made and len(publishers.titles) >= titles)
    await until(server, lambda: publishers.deployed > 0)


async def test_nothing_acknowledged_is_lost_when_the_database_is_killed_again_and_again(
    server: LiveServer, database: Postgres, app: str
) -> None:
    async with open_sessions([(server.url + app, "total")] * 3) as sessions:
        with Publishers(server) as publishers:
            for number in range(ROUNDS):
                await writes_go_on(server, publishers)
                await trio.to_thread.run_sync(database.kill)
                await refusals_come(server, publishers)
                for one in sessions:
                    await one.answers(10 + number)
                await trio.to_thread.run_sync(database.start)
            await writes_go_on(server, publishers)
        assert all(one.session.is_open for one in sessions)
    print(f"{len(publishers.made)} made, {len(publishers.refusals)} refused")
    print(f"{publishers.deployed} deployed, not: {publishers.undone}")
    assert {"store-unavailable"} == set(publishers.refusals)
    assert {503} == publishers.statuses
    found = names(database, server)
    assert set() == set(publishers.made) - found
    # what was refused is not there either, so that it can be asked for again
    assert set(publishers.made) == found - {"app", "deployed"}
    assert all("store-unavailable" in said or "the database" in said for said in publishers.undone)
    [(active,)] = stored(
        database,
        server,
        "SELECT count(*) FROM deployments d JOIN contents c ON c.id = d.content"
        " WHERE c.name = 'deployed' AND c.data->>'active_deployment' IS NOT NULL",
    )
    assert active >= publishers.deployed > 0
    [(record,)] = stored(database, server, "SELECT data FROM contents WHERE name = 'app'")
    assert publishers.titles[-1] == record["title"]
    server.supervisor("list")


def test_what_happens_while_the_database_is_away_is_in_it_afterwards(
    server: LiveServer, database: Postgres, app: str
) -> None:
    server.until(lambda: _visit(server, app) == 200, 30)
    server.until(lambda: bool(ready_runs(server)), 30)
    [run] = ready_runs(server)
    database.kill()
    kill(run["pid"])
    server.until(lambda: bool(spilled(server)), 30, "its end is spilled")
    done = server.supervisor(
        "deploy", str(EXAMPLES / "shiny-python-core"), "--name", "another", check=False
    )
    assert 69 == done.returncode
    assert "the database" in done.stderr
    core = server.core
    database.start()
    server.until(lambda: not spilled(server), 30, "what was spilled is written")
    server.until(lambda: _visit(server, app) == 200, 30, "a new process serves")
    ended = f"SELECT state FROM runs WHERE id = '{run['id']}'"
    assert [("failed",)] == stored(database, server, ended)
    moves = f"SELECT now FROM transitions WHERE run = '{run['id']}' ORDER BY sequence"
    told = [row[0] for row in stored(database, server, moves)]
    assert ["starting", "probing", "ready"] == told[:3]
    assert "failed" == told[-1]
    assert core == server.core


def test_a_database_that_hangs_is_away_too(
    server: LiveServer, database: Postgres, app: str
) -> None:
    database.pause()
    begun = time.monotonic()
    done = server.supervisor("set", "app", "title=x", check=False)
    waited = time.monotonic() - begun
    database.resume()
    assert 69 == done.returncode, done.stderr
    assert waited < 40.0  # ours is tried next where something of the server's own was being tried
    server.until(
        lambda: server.supervisor("set", "app", "title=y", check=False).returncode == 0, 30
    )


def test_a_server_that_starts_before_its_database_waits_for_it(
    server: LiveServer, database: Postgres, app: str
) -> None:
    old = server.core
    database.kill()
    kill(old)
    server.until(lambda: server.core not in (None, old), 15)
    time.sleep(0.5)
    database.start()
    server.until(lambda: server.supervisor("list", check=False).returncode == 0, 30)
    assert ["app"] == [row["name"] for row in server.json("list") if row["name"] == "app"]


def _visit(server: LiveServer, path: str) -> int:
    import urllib.error
    import urllib.request

    try:
        with urllib.request.urlopen(server.url + path, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
