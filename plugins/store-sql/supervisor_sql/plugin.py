"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec

from supervisor import Context, Store, SupervisorError, hookimpl
from supervisor_sql.address import PostgresSettings, read


@hookimpl
def supervisor_settings() -> Sequence[type[PostgresSettings]]:
    """Give the section [Postgres]."""
    return (PostgresSettings,)


@hookimpl
def supervisor_stores(context: Context) -> Mapping[str, Callable[[Context], Store]]:
    """Give the stores "sqlite", the default, and "postgres"."""
    return {"sqlite": _sqlite, "postgres": _postgres}


def _sqlite(context: Context) -> Store:
    # imported only here: loading SQLAlchemy takes most of a second
    from supervisor_sql.sqlite import Sqlite
    from supervisor_sql.store import SqlStore

    given = [path for path in context.section("Database").get("dir", ()) if path]
    return SqlStore(Sqlite(given[-1] if given else f"{context.data_dir}/db"))


def _postgres(context: Context) -> Store:
    settings = read(context)
    if find_spec("psycopg") is None:
        raise SupervisorError(
            "no-store",
            "the store for Postgres needs the package psycopg, which is not installed",
            hint="Install content-supervisor-store-sql[postgres].",
        )
    from supervisor_sql.postgres import Postgres
    from supervisor_sql.store import SqlStore

    return SqlStore(Postgres(settings))
