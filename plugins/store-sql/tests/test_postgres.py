"""The server: who may come in, what a lost answer means, that a server that hangs hangs nobody."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
import trio
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import DBAPIError
from supervisor_sql import schema
from supervisor_sql.address import PostgresSettings
from supervisor_sql.postgres import Postgres
from supervisor_sql.store import SqlStore
from supervisor_sql.tables import metadata

from supervisor import StoreUnavailable, SupervisorError
from supervisor.testing.store import content, new
from tests.support.postgres import Postgres as Server

pytestmark = pytest.mark.system


@pytest.fixture
def backend(postgres_url: str) -> Iterator[Postgres]:
    backend = Postgres(PostgresSettings(url=postgres_url))
    yield backend
    backend.close()


@pytest.fixture
def store(backend: Postgres) -> SqlStore:
    store = SqlStore(backend)
    store.migrate()
    return store


def at(url: str, **settings: str) -> SqlStore:
    return SqlStore(Postgres(PostgresSettings(url=url, **settings)))


def refused(store: SqlStore) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        store.migrate()
    return caught.value


# The schema


def test_a_fresh_database_gets_the_tables_of_this_version(
    backend: Postgres, store: SqlStore
) -> None:
    with backend.reading() as connection:
        assert schema.REVISION == schema.stored_revision(connection)
        assert [] == compare_metadata(MigrationContext.configure(connection), metadata)


def test_servers_that_start_at_once_migrate_once(postgres_url: str) -> None:
    stores = [at(postgres_url) for _ in range(4)]
    errors: list[BaseException] = []

    def migrate(store: SqlStore) -> None:
        try:
            store.migrate()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=migrate, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [] == errors
    stores[0].apply([new("content", content(1))])
    assert stores[1].get("content", 1) is not None
    for store in stores:
        store.close()


def test_a_server_killed_in_a_migration_leaves_what_was_there(postgres_url: str) -> None:
    script = f"""
import os, signal
from sqlalchemy.exc import DBAPIError
from supervisor_sql import schema
from supervisor_sql.address import PostgresSettings
from supervisor_sql.postgres import Postgres
upgrade = schema._upgrade
def killed(connection):
    upgrade(connection)
    os.kill(os.getpid(), signal.SIGKILL)
schema._upgrade = killed
schema.migrate(Postgres(PostgresSettings(url={postgres_url!r})))
"""
    subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    store = at(postgres_url)
    store.migrate()
    assert 1 == store.next_id("content")
    store.close()


# Who may come in


def test_a_server_that_is_not_there_is_unavailable_so_that_a_start_tries_again(
    tmp_path: Path,
) -> None:
    error = refused(at(f"postgres://me@/x?host={quote(str(tmp_path), safe='')}"))
    assert "store-unavailable" == error.code


def test_a_database_that_does_not_exist_is_refused(postgres: Server) -> None:
    error = refused(at(postgres.url("nowhere")))
    assert "database-refused" == error.code
    assert "no such database" in error.message


def test_a_user_that_does_not_exist_is_refused(postgres: Server) -> None:
    error = refused(at(postgres.url("postgres", "stranger")))
    assert "database-refused" == error.code
    assert "does not let us in" in error.message


def test_a_user_who_may_make_no_tables_is_refused(postgres: Server, postgres_url: str) -> None:
    postgres.execute("CREATE ROLE guest LOGIN", postgres_url)
    error = refused(at(postgres_url.replace("supervisor@", "guest@")))
    assert "database-refused" == error.code
    assert "permission denied" in error.message


def test_the_password_comes_from_its_file_and_is_shown_nowhere(
    own_postgres: Server, tmp_path: Path
) -> None:
    own_postgres.execute("CREATE ROLE locked LOGIN SUPERUSER PASSWORD 'geheim'")
    rules = own_postgres.data / "pg_hba.conf"
    rules.write_text("local all locked scram-sha-256\nlocal all all trust\n")
    own_postgres.execute("SELECT pg_reload_conf()")
    password = tmp_path / "password"
    password.touch(mode=0o600)
    url = own_postgres.url("postgres", "locked")
    password.write_text("wrong\n")
    error = refused(at(url, password_file=str(password)))
    assert "database-refused" == error.code
    assert "wrong" not in str(error)
    password.write_text("geheim\n")
    store = at(url, password_file=str(password))
    store.migrate()
    assert "geheim" not in Path("/proc/self/cmdline").read_text()
    assert [] == own_postgres.execute(
        "SELECT query FROM pg_stat_activity WHERE query LIKE '%geheim%' AND pid <> pg_backend_pid()"
    )
    # the file may change while the server runs; a file that is gone loses no fact
    own_postgres.execute("ALTER ROLE locked PASSWORD 'neu'")
    own_postgres.stop()
    own_postgres.start()
    password.write_text("neu\n")
    store.apply([new("content", content(1))])
    password.unlink()
    own_postgres.stop()
    own_postgres.start()
    with pytest.raises(StoreUnavailable):
        store.apply([new("content", content(2))])
    store.close()


# Trouble


def test_a_paused_server_hangs_nobody(own_postgres: Server) -> None:
    backend = Postgres(PostgresSettings(url=own_postgres.url()), call_seconds=0.5)
    store = SqlStore(backend)
    store.migrate()
    own_postgres.pause()
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.next_id("content")
    assert time.monotonic() - begun < 10.0
    own_postgres.resume()
    assert store.next_id("content") > 0
    store.close()


def test_a_node_that_is_paused_while_it_writes_holds_nobody_up_for_long(
    backend: Postgres, store: SqlStore
) -> None:
    with suppress(DBAPIError), backend.writing() as connection:
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = '300ms'")
        assert 1 == store.next_id("content")  # waits until that other session was ended
        connection.exec_driver_sql("SELECT 1")
        pytest.fail("the session was not ended")


def test_the_first_call_after_a_restart_does_not_fail(own_postgres: Server) -> None:
    store = at(own_postgres.url())
    store.migrate()
    assert 1 == store.next_id("content")
    own_postgres.kill()
    own_postgres.start()
    assert 2 == store.next_id("content")
    store.close()


class Cutting:
    """Stands before a server, and hangs up at the COMMIT: before it is told, or before its answer.

    It then lets nobody in for `away` seconds.
    """

    def __init__(self, directory: Path, server: Server, *, told: bool, away: float) -> None:
        self._server, self._told, self._away = server, told, away
        self._cuts = 1
        self._back_at = 0.0
        self.url = f"postgres://supervisor@/postgres?host={quote(str(directory), safe='')}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(directory / ".s.PGSQL.5432"))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            if time.monotonic() < self._back_at:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(str(self._server.directory / ".s.PGSQL.5432"))
            threading.Thread(target=self._answers, args=(server, client), daemon=True).start()
            threading.Thread(target=self._asks, args=(client, server), daemon=True).start()

    def _asks(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            if self._cuts and b"COMMIT" in data and b"INSERT" in self._before:
                self._cuts = 0
                self._back_at = time.monotonic() + self._away
                client.shutdown(socket.SHUT_RDWR)
                if self._told:
                    server.sendall(data)
                    time.sleep(0.1)
                server.close()
                return
            self._before = data if b"INSERT" in data else self._before
            server.sendall(data)

    _before = b""

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_a_commit_whose_answer_was_lost_is_asked_for(
    own_postgres: Server, tmp_path: Path, told: bool
) -> None:
    """What was written is acknowledged, though the connection was cut; what was not is not."""
    at(own_postgres.url()).migrate()
    store = at(Cutting(tmp_path, own_postgres, told=told, away=0.5).url)
    if told:
        store.apply([new("content", content(1))])
    else:
        with pytest.raises(StoreUnavailable):
            store.apply([new("content", content(1))])
    there = [("name-1",)] if told else []
    assert there == own_postgres.execute("SELECT name FROM contents")
    store.apply([new("content", content(2))])
    store.close()


# Waking


async def test_a_listener_wakes_trio_for_what_another_has_written(
    store: SqlStore, postgres_url: str
) -> None:
    other = at(postgres_url)
    listener = store.listen()
    assert listener is not None

    async def write(number: int) -> None:
        await trio.to_thread.run_sync(other.apply, [new("content", content(number))])

    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            for number in range(1, 4):
                nursery.start_soon(write, number)
                await trio.lowlevel.wait_readable(listener)
                listener.clear()
    with trio.move_on_after(0.2) as quiet:
        await trio.lowlevel.wait_readable(listener)
    assert quiet.cancelled_caught
    listener.close()
    listener.close()
    other.close()
    store.close()


async def test_a_listener_wakes_and_says_so_when_the_server_is_gone(own_postgres: Server) -> None:
    store = at(own_postgres.url())
    listener = store.listen()
    assert listener is not None
    own_postgres.kill()
    with trio.fail_after(10), suppress(StoreUnavailable):
        while True:  # there may be a last message before the end
            await trio.lowlevel.wait_readable(listener)
            listener.clear()
    listener.close()
    with pytest.raises(StoreUnavailable):
        store.listen()


def test_nobody_is_woken_by_what_was_not_written(store: SqlStore) -> None:
    store.apply([new("content", content(1))])
    listener = store.listen()
    assert listener is not None
    with pytest.raises(SupervisorError):
        store.apply([new("content", content(1))])
    os.set_blocking(listener.fileno(), False)
    with closing(socket.socket(fileno=os.dup(listener.fileno()))) as sock:
        sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            sock.recv(1, socket.MSG_PEEK)
    listener.close()


def test_other_people_s_tables_do_not_matter(postgres: Server, postgres_url: str) -> None:
    postgres.execute("CREATE TABLE theirs (id int)", postgres_url)
    store = at(postgres_url)
    store.migrate()
    store.load([])
    store.close()


def test_a_refused_record_is_no_outage(store: SqlStore) -> None:
    """Else the journal would try for ever to write what can never be written."""
    with pytest.raises(SupervisorError) as caught:
        store.apply([new("content", content(1, name="x" * 65))])
    assert "bad-request" == caught.value.code
    with closing(psycopg.connect(store._backend.settings.url)) as other:  # type: ignore[attr-defined]
        assert [(0,)] == other.execute("SELECT count(*) FROM contents").fetchall()
