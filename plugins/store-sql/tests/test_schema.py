"""Migrations: from nothing, from older, never from newer; one at a time, with a copy first."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.exc import OperationalError
from supervisor_sql import schema
from supervisor_sql.sqlite import Sqlite
from supervisor_sql.store import SqlStore
from supervisor_sql.tables import metadata

from supervisor import Lease, SupervisorError
from supervisor.testing.store import content, new


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Sqlite]:
    backend = Sqlite(tmp_path)
    yield backend
    backend.close()


@pytest.fixture
def store(backend: Sqlite) -> SqlStore:
    return SqlStore(backend)


def set_revision(backend: Sqlite, revision: str) -> None:
    with backend.writing() as connection:
        connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{revision}'")


def copies(backend: Sqlite) -> list[str]:
    return sorted(path.name for path in backend.path.parent.iterdir() if "db-" not in path.name)


def test_a_fresh_database_gets_the_tables_of_this_version(backend: Sqlite, store: SqlStore) -> None:
    store.migrate()
    with backend.reading() as connection:
        assert schema.REVISION == schema.stored_revision(connection)
        assert [] == compare_metadata(MigrationContext.configure(connection), metadata)
    assert ["supervisor.db"] == copies(backend)


def test_the_newest_migration_is_the_revision_of_this_version() -> None:
    newest = sorted(schema.MIGRATIONS.glob("versions/r*.py"))[-1]
    assert f"r{schema.REVISION}" == newest.name.split("_")[0]


def test_a_second_migration_does_nothing_and_does_not_load_alembic(
    store: SqlStore, tmp_path: Path
) -> None:
    store.migrate()
    store.apply([new("content", content(1))])
    script = f"""
import sys
from supervisor_sql.sqlite import Sqlite
from supervisor_sql.store import SqlStore
store = SqlStore(Sqlite({str(tmp_path)!r}))
store.migrate()
print(store.get("content", 1).name, "alembic" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "name-1 False" == done.stdout.strip()


def test_registering_the_plugin_does_not_load_sqlalchemy() -> None:
    script = "import sys, supervisor_sql.plugin; print('sqlalchemy' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert "False" == done.stdout.strip()


def test_a_newer_schema_is_refused_and_left_alone(backend: Sqlite, store: SqlStore) -> None:
    store.migrate()
    set_revision(backend, "0999")
    with pytest.raises(SupervisorError) as caught:
        store.migrate()
    assert "schema-newer" == caught.value.code
    assert "0999" in caught.value.message
    assert ["supervisor.db"] == copies(backend)


@pytest.fixture
def older(backend: Sqlite, store: SqlStore) -> Sqlite:
    """A database of a version before the first: the first migration cannot but fail on it."""
    store.migrate()
    store.apply([new("content", content(1, title="kept"))])
    set_revision(backend, "0000")
    return backend


def test_an_existing_database_is_copied_before_its_migration(older: Sqlite) -> None:
    older.back_up("0000")
    copy = older.path.with_name("supervisor-0000.db")
    assert 0o600 == copy.stat().st_mode & 0o777
    with closing(sqlite3.connect(copy)) as connection:
        assert [(1,)] == connection.execute("SELECT id FROM contents").fetchall()


def test_a_migration_that_fails_leaves_the_database_as_it_was_and_its_copy(
    older: Sqlite, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: object) -> None:
        connection.exec_driver_sql("DROP TABLE contents")  # type: ignore[attr-defined]
        raise OperationalError("ALTER", {}, sqlite3.OperationalError("boom"))

    monkeypatch.setattr(schema, "_upgrade", fail)
    with pytest.raises(SupervisorError, match="boom"):
        store.migrate()
    assert ["supervisor-0000.db", "supervisor.db"] == copies(older)
    kept = store.get("content", 1)
    assert kept is not None
    assert "kept" == kept.title


def test_who_is_at_work_is_asked_before_an_older_schema_is_changed(
    backend: Sqlite, store: SqlStore
) -> None:
    store.migrate()
    held = store.claim("node/older", "older", 30.0)
    with backend.writing() as connection:
        connection.exec_driver_sql("DROP TABLE nodes")
    set_revision(backend, "0001")

    def refuse(now: float, leases: Sequence[Lease]) -> None:
        assert [held] == leases
        assert now < leases[0].expires
        raise SupervisorError("data-dir-held", "somebody lives")

    with pytest.raises(SupervisorError, match="somebody lives"):
        store.migrate(refuse)
    with backend.reading() as connection:
        assert "0001" == schema.stored_revision(connection)
    assert ["supervisor.db"] == copies(backend)
    store.migrate(lambda now, leases: None)
    with backend.reading() as connection:
        assert schema.REVISION == schema.stored_revision(connection)
    store.migrate(refuse)  # there is nothing to change any more


def test_a_server_killed_in_a_migration_leaves_what_was_there(tmp_path: Path) -> None:
    script = f"""
import os, signal
from supervisor_sql import schema
from supervisor_sql.sqlite import Sqlite
upgrade = schema._upgrade
def killed(connection):
    upgrade(connection)
    os.kill(os.getpid(), signal.SIGKILL)
schema._upgrade = killed
schema.migrate(Sqlite({str(tmp_path)!r}))
"""
    subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    backend = Sqlite(tmp_path)
    with backend.reading() as connection:
        assert schema.stored_revision(connection) is None
    store = SqlStore(backend)
    store.migrate()
    assert 1 == store.next_id("content")
    store.close()


@pytest.mark.parametrize("attempt", range(20))  # one in ten found the file locked, once
def test_servers_that_start_at_once_migrate_once(tmp_path: Path, attempt: int) -> None:
    stores = [SqlStore(Sqlite(tmp_path)) for _ in range(4)]
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
