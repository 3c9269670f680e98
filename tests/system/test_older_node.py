"""A server of a newer version beside an older one: nobody's records are changed under him."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest

from tests.support.server import LiveServer, live_server, server_directory

pytestmark = pytest.mark.system
SHARED = "[Server]\nSeveralNodes = yes\n"


def sql(server: LiveServer, *statements: str) -> str:
    """Change the database of a server; give the revision of its schema."""
    with closing(sqlite3.connect(server.data_dir / "db" / "supervisor.db")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()
        return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])


def test_the_records_are_changed_only_once_no_older_server_is_at_work(needs: Any) -> None:
    needs.root()
    with live_server(extra=SHARED) as older, server_directory() as base:
        newest = sql(older)
        sql(older, "UPDATE alembic_version SET version_num = '0001'")  # as if it had made it
        newer = LiveServer(base, extra=f"{SHARED}DataDir = {older.data_dir}\n")
        try:
            process = newer.start(wait=False).process
            assert process is not None
            assert 75 == process.wait(60), newer.log()
            assert "the records are of an older version, and a server is at work" in newer.log()
            assert "0001" == sql(older)
            assert not list(older.data_dir.glob("db/supervisor-*.db"))
            assert 0 == older.supervisor("list").returncode

            assert 0 == older.stop()
            sql(older, "DROP TABLE nodes")
            newer.start()
            assert newest == sql(older)
        finally:
            newer.end()


def test_a_reload_to_a_version_older_than_the_records_is_refused_with_nothing_replaced(
    needs: Any,
) -> None:
    needs.root()
    with live_server() as server:
        newest, core = sql(server), server.core
        sql(server, "UPDATE alembic_version SET version_num = '0999'")
        done = server.supervisor("reload", check=False)
        assert 78 == done.returncode
        assert "[schema-newer]" in done.stderr
        assert core == server.core
        sql(server, f"UPDATE alembic_version SET version_num = '{newest}'")
        server.supervisor("reload")
