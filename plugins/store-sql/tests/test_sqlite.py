"""The file: durable, closed to others, refused where SQLite cannot be trusted."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from supervisor_sql.filesystem import classify, network_file_system
from supervisor_sql.plugin import supervisor_stores
from supervisor_sql.sqlite import Sqlite
from supervisor_sql.store import REMEMBERED, SqlStore

from supervisor import Context, StoreUnavailable, SupervisorError, from_json, to_json
from supervisor.testing.store import content, new


def migrated(data_dir: Path) -> SqlStore:
    store = SqlStore(Sqlite(data_dir / "db"))
    store.migrate()
    return store


def refused(attempt: Callable[[], object]) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        attempt()
    return caught.value


def test_the_plugin_gives_the_store_sqlite(tmp_path: Path) -> None:
    context = Context(data_dir=str(tmp_path), run_dir=str(tmp_path), settings={}, rootless=True)
    store = supervisor_stores(context)["sqlite"](context)
    store.migrate()
    assert 1 == store.next_id("content")
    assert (tmp_path / "db" / "supervisor.db").is_file()
    store.close()


def test_the_database_lies_where_the_settings_say(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    settings = {"database": {"dir": ["/overridden", str(elsewhere)]}}
    data = str(tmp_path / "data")
    context = Context(data_dir=data, run_dir=data, settings=settings, rootless=True)
    store = supervisor_stores(context)["sqlite"](context)
    store.migrate()
    assert ["supervisor.db"] == [path.name for path in elsewhere.glob("*.db")]
    assert not (tmp_path / "data").exists()
    store.close()


def test_the_database_is_closed_to_others(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        store = migrated(tmp_path / "data")
    finally:
        os.umask(before)
    store.next_id("content")
    directory = tmp_path / "data" / "db"
    assert 0o700 == directory.stat().st_mode & 0o777
    assert {0o600} == {path.stat().st_mode & 0o777 for path in directory.iterdir()}


def test_an_error_of_a_statement_does_not_show_what_it_was_about(tmp_path: Path) -> None:
    backend = Sqlite(tmp_path / "db")
    with backend.reading() as connection, pytest.raises(DBAPIError) as caught:
        connection.execute(text("SELECT * FROM missing WHERE name = :name"), {"name": "private"})
    assert "missing" in str(caught.value)
    assert "private" not in str(caught.value)
    backend.close()


def test_each_connection_is_durable_and_keeps_references(tmp_path: Path) -> None:
    backend = Sqlite(tmp_path / "db")
    with backend.reading() as connection:
        read = [
            connection.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        ]
    assert ["wal", 2, 1, 5000] == read
    backend.close()


def test_a_committed_record_outlives_a_kill(tmp_path: Path) -> None:
    migrated(tmp_path).close()
    script = f"""
import os, signal
from supervisor.testing.store import content, new
from supervisor_sql.sqlite import Sqlite
from supervisor_sql.store import SqlStore
store = SqlStore(Sqlite({str(tmp_path / "db")!r}))
store.apply([new("content", content(store.next_id("content")))])
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    store = migrated(tmp_path)
    assert store.get("content", 1) is not None
    assert 2 == store.next_id("content")


def test_a_record_of_a_newer_version_is_read_without_what_is_unknown(tmp_path: Path) -> None:
    store = migrated(tmp_path)
    known = content(1, title="known")
    store.apply([new("content", known)])
    with closing(sqlite3.connect(tmp_path / "db/supervisor.db")) as other:
        other.execute("UPDATE contents SET data = json_set(data, '$.moon', json('{\"a\": 1}'))")
        other.commit()
    assert known == store.get("content", 1)
    assert known == from_json(type(known), {**to_json(known), "moon": {}})


def test_the_feed_forgets_the_oldest_and_its_cursor_still_grows(tmp_path: Path) -> None:
    store = migrated(tmp_path)
    many = [new("content", content(number)) for number in range(1, REMEMBERED + 2001)]
    store.apply(many)
    cursor, events = store.changes(0)
    assert (REMEMBERED + 2000, REMEMBERED) == (cursor, len(events))
    store.apply([new("content", content(REMEMBERED + 5000))])
    assert cursor + 1 == store.changes(cursor)[0]


# Refusals


def test_a_network_file_system_is_refused(tmp_path: Path) -> None:
    error = refused(lambda: Sqlite(tmp_path / "db", network=lambda path: "NFS"))
    assert "data-dir-network" == error.code
    assert "NFS" in error.message
    assert not (tmp_path / "db" / "supervisor.db").exists()


def test_the_file_system_of_this_test_is_local(tmp_path: Path) -> None:
    assert network_file_system(str(tmp_path)) is None
    with pytest.raises(FileNotFoundError):
        network_file_system(str(tmp_path / "missing"))


@pytest.mark.parametrize(
    ("magic", "mounted_as", "expected"),
    [
        (0xEF53, "", None),  # ext4
        (0x58465342, "", None),  # xfs
        (0x9123683E, "", None),  # btrfs
        (0x01021994, "", None),  # tmpfs
        (0x794C7630, "", None),  # overlayfs
        (0x6969, "", "NFS"),
        (0xFF534D42, "", "CIFS"),
        (0xFE534D42, "", "SMB2"),
        (0x01021997, "", "9p"),
        (0x0BD00BD0, "", "Lustre"),
        (0x00C36400, "", "Ceph"),
        (0x65735546, "fuse.sshfs", "fuse.sshfs"),
        (0x65735546, "", "FUSE"),
        (0x65735546, "fuse.fuse-overlayfs", None),
        (0x65735546, "virtiofs", None),
        (0x65735546, "fuseblk", None),
    ],
)
def test_file_systems_are_told_apart_by_statfs(
    magic: int, mounted_as: str, expected: str | None
) -> None:
    assert expected == classify(magic, mounted_as)


def test_a_data_dir_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("I am a file")
    error = refused(lambda: Sqlite(tmp_path / "data" / "db"))
    assert "data-dir-unusable" == error.code
    assert os.strerror(errno.ENOTDIR) in error.message or "exists" in error.message


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody who may not write")
def test_a_data_dir_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    data_dir.mkdir(mode=0o755)
    script = f"""
import os
from supervisor import SupervisorError
from supervisor_sql.sqlite import Sqlite
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
try:
    Sqlite({str(data_dir / "db")!r})
except SupervisorError as error:
    print(error.code, error.message)
"""
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.startswith("data-dir-unusable")
    assert "Permission denied" in done.stdout


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "db").mkdir()
    (tmp_path / "db" / "supervisor.db").write_bytes(b"not a database at all" * 100)
    error = refused(lambda: migrated(tmp_path))
    assert "data-dir-unusable" == error.code
    assert "not an SQLite database" in error.message


def test_a_corrupt_database_is_refused(tmp_path: Path) -> None:
    migrated(tmp_path).close()
    path = tmp_path / "db" / "supervisor.db"
    data = bytearray(path.read_bytes())
    data[100 : len(data)] = b"\xff" * (len(data) - 100)
    path.write_bytes(data)
    error = refused(lambda: migrated(tmp_path))
    assert "data-dir-unusable" == error.code
    assert "corrupt" in error.message


def test_a_full_database_is_refused_at_the_start_and_unavailable_later(tmp_path: Path) -> None:
    """A limit on the number of pages stands in for a full disk: SQLite says the same."""
    store = migrated(tmp_path)
    backend = Sqlite(tmp_path / "db")
    full = SqlStore(backend)
    with backend.writing() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1")
    many = [new("content", content(number, title="x" * 1000)) for number in range(1, 200)]
    with pytest.raises(StoreUnavailable, match="the disk is full"):
        full.apply(many)
    assert [] == list(store.find("content"))
    store.apply(many)
    full.close()
    store.close()
