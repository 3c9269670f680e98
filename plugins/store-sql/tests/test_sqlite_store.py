"""The store on SQLite keeps the promises of every store."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from supervisor_sql.sqlite import Sqlite
from supervisor_sql.store import SqlStore

from supervisor.testing.store import StoreContract


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> Sqlite:
        return Sqlite(tmp_path)

    @pytest.fixture
    def store(self, backend: Sqlite) -> Iterator[SqlStore]:
        store = SqlStore(backend)
        store.migrate()
        yield store
        store.close()

    @pytest.fixture
    def away(self, backend: Sqlite) -> Iterator[Callable[[], None]]:
        """Another process holds the write lock, as a tool of the administrator may do."""
        with closing(sqlite3.connect(backend.path, isolation_level=None)) as other:

            def away() -> None:
                backend.busy_seconds = 0.05
                backend.close()  # the next connection waits as long as this
                other.execute("BEGIN IMMEDIATE")

            yield away

    @pytest.fixture
    def another(self, backend: Sqlite) -> Callable[[], SqlStore]:
        return lambda: SqlStore(Sqlite(backend.path.parent))
