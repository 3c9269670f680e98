"""The hooks of this plugin."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from supervisor import Context, Store, hookimpl


@hookimpl
def supervisor_stores(context: Context) -> Mapping[str, Callable[[Context], Store]]:
    """Give the store "sqlite"."""
    return {"sqlite": _sqlite}


def _sqlite(context: Context) -> Store:
    # imported only here: loading SQLAlchemy takes most of a second
    from supervisor_sql.sqlite import Sqlite
    from supervisor_sql.store import SqlStore

    given = [path for path in context.section("Database").get("dir", ()) if path]
    return SqlStore(Sqlite(given[-1] if given else f"{context.data_dir}/db"))
