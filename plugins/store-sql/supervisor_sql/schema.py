"""Bring a database to the schema of this version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, inspect, select

from supervisor import Lease, SupervisorError
from supervisor_sql.backend import Backend
from supervisor_sql.tables import leases

REVISION = "0002"  # the newest file in migrations/versions; they grow by one
MIGRATIONS = Path(__file__).parent / "migrations"

# alembic's own table: reading it here spares importing alembic, which takes a second
_stored = Table("alembic_version", MetaData(), Column("version_num", String(32)))


def migrate(
    backend: Backend, permit: Callable[[float, Sequence[Lease]], None] | None = None
) -> None:
    """Migrate where the stored revision is older; refuse a newer one with schema-newer.

    permit: see Store.migrate.
    """
    with backend.reading() as connection:
        if _is_current(stored_revision(connection)):
            return
    with backend.migrating() as connection:
        revision = stored_revision(connection)  # another server may have been quicker
        if _is_current(revision):
            return
        if permit is not None:
            # their table is in the schemas of all revisions, and the same in each
            permit(*((0.0, ()) if revision is None else all_leases(connection, backend)))
        if revision is not None:
            backend.back_up(revision)
        _upgrade(connection)


def stored_revision(connection: Connection) -> str | None:
    """Give the revision of the schema, None for an empty database."""
    if not inspect(connection).has_table(_stored.name):
        return None
    return connection.execute(select(_stored.c.version_num)).scalar()


def all_leases(connection: Connection, backend: Backend) -> tuple[float, Sequence[Lease]]:
    """Give what Store.leases gives, in a transaction."""
    query = select(leases).where(leases.c.owner != "").order_by(leases.c.name)
    now = connection.execute(select(backend.now)).scalar_one()
    return now, [Lease(**row._mapping) for row in connection.execute(query)]


def _is_current(revision: str | None) -> bool:
    if revision is not None and revision > REVISION:
        raise SupervisorError(
            "schema-newer",
            f"the database has schema {revision}, this version knows {REVISION} at most",
            hint="Install the version of content-supervisor that wrote it, or a newer one.",
        )
    return revision == REVISION


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
