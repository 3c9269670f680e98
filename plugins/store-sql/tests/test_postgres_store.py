"""The store on Postgres keeps the promises of every store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import psycopg
import pytest
from supervisor_sql.address import PostgresSettings
from supervisor_sql.postgres import Postgres
from supervisor_sql.store import SqlStore
from supervisor_sql.tables import metadata

from supervisor.testing.store import StoreContract
from tests.support.postgres import Postgres as Server

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def url(postgres: Server) -> str:
    """A database with our tables."""
    url = postgres.new_database()
    store = SqlStore(Postgres(PostgresSettings(url=url)))
    store.migrate()
    store.close()
    return url


class TestPostgresStore(StoreContract):
    @pytest.fixture
    def backend(self, url: str, postgres: Server) -> Postgres:
        tables = ", ".join(metadata.tables)
        postgres.execute(f"TRUNCATE {tables} RESTART IDENTITY", url)
        return Postgres(PostgresSettings(url=url))

    @pytest.fixture
    def store(self, backend: Postgres) -> Iterator[SqlStore]:
        store = SqlStore(backend)
        yield store
        store.close()

    @pytest.fixture
    def away(self, backend: Postgres, url: str) -> Iterator[Callable[[], None]]:
        """Somebody holds the tables, as a tool of the administrator may do."""
        with closing(psycopg.connect(url)) as other:

            def away() -> None:
                backend.call_seconds = 0.2
                backend.close()  # the next connection waits as long as this
                other.execute("LOCK TABLE counters, leases, changes, contents")

            yield away

    @pytest.fixture
    def another(self, backend: Postgres) -> Callable[[], SqlStore]:
        return lambda: SqlStore(Postgres(backend.settings))
