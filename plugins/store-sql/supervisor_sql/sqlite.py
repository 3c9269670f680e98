"""SQLite: one file under DataDir, written ahead to a log, one writer at a time."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import (
    ColumnElement,
    Connection,
    create_engine,
    event,
    func,
    literal,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import ConnectionPoolEntry

from supervisor import StoreConflict, StoreUnavailable, SupervisorError
from supervisor_sql.backend import Backend
from supervisor_sql.filesystem import network_file_system

BUSY_SECONDS = 5.0
BUSY_PAUSE = 0.02  # seconds between two tries where SQLite does not wait by itself

# FULL, not NORMAL: with NORMAL the newest transactions are gone after a loss of power, and an id
# (so a uid, and the directories that it owns) could be given to a second content, or an upload be
# forgotten that the publisher was told is safe. The journal's group commit pays for it.
_PRAGMAS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
)

_UNUSABLE = {
    "SQLITE_FULL": "the disk is full",
    "SQLITE_CORRUPT": "the database is corrupt",
    "SQLITE_NOTADB": "the file is not an SQLite database",
    "SQLITE_READONLY": "the database cannot be written",
    "SQLITE_CANTOPEN": "the database cannot be opened",
    "SQLITE_PERM": "the database cannot be written",
    "SQLITE_IOERR": "the disk gives errors, or is full",
}


class Sqlite(Backend):
    """The database {directory}/supervisor.db. Raises data-dir-network, data-dir-unusable.

    busy_seconds: how long a transaction waits for another process that holds the file.
    """

    insert = staticmethod(insert)

    def __init__(
        self,
        directory: str | Path,
        *,
        busy_seconds: float = BUSY_SECONDS,
        network: Callable[[str], str | None] = network_file_system,
    ) -> None:
        self.busy_seconds = busy_seconds
        self.path = Path(directory, "supervisor.db")
        _prepare(self.path, network)
        # isolation_level None: the driver begins no transactions, we do
        self._engine = create_engine(
            f"sqlite:///{self.path}",
            connect_args={"isolation_level": None},
            hide_parameters=True,  # records are nothing for the log
        )
        event.listen(self._engine, "connect", self._configure)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            # at once, since a transaction that has read first cannot wait for another writer
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection
            connection.commit()

    migrating = writing  # the schema is part of the transaction

    def back_up(self, revision: str) -> None:
        target = self.path.with_name(f"supervisor-{revision}.db")
        unfinished = target.with_suffix(".unfinished")
        try:
            unfinished.unlink(missing_ok=True)
            unfinished.touch(mode=0o600)
            with (
                closing(sqlite3.connect(self.path)) as source,
                closing(sqlite3.connect(unfinished)) as copy,
            ):
                source.backup(copy)
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
            unfinished.replace(target)
        except (OSError, sqlite3.Error) as error:
            raise _unusable(self.path, f"its copy {target.name} cannot be made: {error}") from None

    @property
    def now(self) -> ColumnElement[float]:
        return (func.julianday("now") - literal(2440587.5)) * literal(86400.0)

    def meaning(self, error: DBAPIError, *, starting: bool) -> SupervisorError:
        if isinstance(error, IntegrityError):
            return StoreConflict(f"another record has the same key or name: {error.orig}")
        name = getattr(error.orig, "sqlite_errorname", "")
        for prefix, reason in _UNUSABLE.items():
            if name.startswith(prefix):
                if starting:
                    return _unusable(self.path, f"{reason} ({error.orig})")
                return StoreUnavailable(f"{self.path}: {reason} ({error.orig})")
        return StoreUnavailable(f"{self.path}: {error.orig}")

    def close(self) -> None:
        self._engine.dispose()

    def _configure(self, connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {self.busy_seconds * 1000:.0f}")
        for pragma in _PRAGMAS:
            self._patiently(cursor, pragma)
        cursor.close()

    def _patiently(self, cursor: DBAPICursor, pragma: str) -> None:
        """Wait for others here: switching to WAL, SQLite does not wait by itself."""
        end = time.monotonic() + self.busy_seconds
        while True:
            try:
                cursor.execute(pragma)
                return
            except sqlite3.OperationalError as error:
                busy = getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY")
                if not busy or time.monotonic() > end:
                    raise
            time.sleep(BUSY_PAUSE)


def _prepare(path: Path, network: Callable[[str], str | None]) -> None:
    """Make the directory and the file, closed to others; refuse a network file system."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        kind = network(str(path.parent))
        if kind is not None:
            raise SupervisorError(
                "data-dir-network",
                f"{path.parent} lies on a network file system ({kind}), where SQLite cannot lock",
                hint="Set Database.Dir, or Server.DataDir, to a directory on a local disk.",
            )
        path.touch(mode=0o600)
        if not os.access(path, os.R_OK | os.W_OK):
            raise PermissionError(13, "Permission denied", str(path))
    except OSError as error:
        raise _unusable(path, f"{error.strerror or error} ({error.filename or path})") from None


def _unusable(path: Path, reason: str) -> SupervisorError:
    return SupervisorError(
        "data-dir-unusable",
        f"the database {path} cannot be used: {reason}",
        hint="Its directory (Database.Dir) must be on a local disk and writable for the core.",
    )
