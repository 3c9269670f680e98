"""Postgres: a database of one's own on a server, one writer at a time among all nodes."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    cast,
    create_engine,
    extract,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DataError as RefusedData
from sqlalchemy.exc import DBAPIError, IntegrityError

from supervisor import StoreConflict, StoreUnavailable, SupervisorError
from supervisor_sql.address import PostgresSettings, place_of
from supervisor_sql.backend import Backend
from supervisor_sql.driver import CALL_SECONDS, LIMITS, LONG_SECONDS, BoundedConnection, connect
from supervisor_sql.notices import CHANNEL, Notices

# Writers queue up for this number of ours, so that the feed's numbers become visible in order:
# a reader that has seen 7 never finds 6 later. Group commit makes one writer enough.
_WRITERS = 0x5355_5052
_TURN = text("SELECT pg_advisory_xact_lock(:key), pg_current_xact_id()::text")

# Classes of SQLSTATE by which a person must mend something before we can start.
_REFUSALS = {
    "28": "it does not let us in",
    "3D": "there is no such database",
    "3F": "the schema is missing",
    "42": "it refuses a statement",
}
# What libpq says before there is a session comes without a code.
_NO_SESSION = re.compile(
    r"authentication failed|no pg_hba.conf entry|no password supplied|role \".*\" does not exist"
    r"|(?P<database>database \".*\" does not exist)"
)


class Postgres(Backend):
    """The database that the settings name.

    call_seconds: how long one call waits for the server, also for one that hangs. outcome_seconds:
    how long a commit that was cut off waits for the server to come back and say what became of it.
    """

    insert = staticmethod(insert)

    def __init__(
        self,
        settings: PostgresSettings,
        *,
        call_seconds: float = CALL_SECONDS,
        outcome_seconds: float = 8.0,
    ) -> None:
        self.settings = settings
        self.call_seconds = call_seconds
        self.outcome_seconds = outcome_seconds
        # not by a URL, which SQLAlchemy would show
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=self.connect,
            pool_size=2,
            max_overflow=8,
            pool_pre_ping=True,  # else the first call after an outage would fail
            use_native_hstore=False,  # spares a query at each connect
            hide_parameters=True,  # records are nothing for the log
        )
        self._readers = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    def connect(self) -> BoundedConnection:
        """Open a connection. Raises psycopg.OperationalError."""
        return connect(self.settings, call_seconds=self.call_seconds)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._readers.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            _, transaction = connection.execute(_TURN, {"key": _WRITERS}).one()
            yield connection
            try:
                connection.commit()
            except DBAPIError as error:
                if not error.connection_invalidated or not self._has_committed(transaction):
                    raise

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        with self._engine.connect() as connection, _patiently(connection):
            connection.execute(_TURN, {"key": _WRITERS})
            yield connection
            connection.commit()

    @contextmanager
    def dumping(self) -> Iterator[Connection]:
        with self._readers.connect() as connection, _patiently(connection):
            yield connection

    def back_up(self, revision: str) -> None:
        """Copies are the database administrator's, and a migration is one transaction."""

    def tell(self, connection: Connection) -> None:
        connection.execute(select(func.pg_notify(CHANNEL, "")))

    def listen(self) -> Notices:
        try:
            return Notices(self.connect())
        except psycopg.Error as error:
            raise self._away(error) from error

    @property
    def now(self) -> ColumnElement[float]:
        return cast(extract("epoch", func.clock_timestamp()), Float)

    def meaning(self, error: DBAPIError, *, starting: bool) -> SupervisorError:
        if isinstance(error, IntegrityError):
            return StoreConflict(f"another record has the same key or name: {_said(error.orig)}")
        if isinstance(error, RefusedData):
            return SupervisorError(
                "bad-request", f"the database cannot keep a record: {_said(error.orig)}"
            )
        cause = getattr(error.orig, "__cause__", None)
        if starting and isinstance(cause, SupervisorError):
            return cause
        reason = _refusal(error.orig)
        if starting and reason:
            return SupervisorError(
                "database-refused",
                f"the database {self._place}: {reason} ({_said(error.orig)})",
                hint="docs/howto/postgres.md says what user, database and rights are needed.",
            )
        return self._away(error.orig)

    def close(self) -> None:
        self._engine.dispose()

    @property
    def _place(self) -> str:
        return place_of(self.settings.url)

    def _away(self, error: object) -> StoreUnavailable:
        return StoreUnavailable(f"the database {self._place}: {_said(error)}")

    def _has_committed(self, transaction: str) -> bool:
        """Tell what became of a commit whose answer was lost; wait for the server to come back.

        False also where that takes too long: then nobody knows.
        """
        status = text("SELECT pg_xact_status(CAST(:transaction AS xid8))")
        end = time.monotonic() + self.outcome_seconds
        while time.monotonic() < end:
            try:
                with self._readers.connect() as connection:
                    found = connection.execute(status, {"transaction": transaction}).scalar_one()
            except DBAPIError:
                found = "in progress"
            if found != "in progress":
                return bool(found == "committed")
            time.sleep(0.1)
        return False


@contextmanager
def _patiently(connection: Connection) -> Iterator[None]:
    """Let the calls of one transaction take their time, and pause between them."""
    for limit in LIMITS:
        connection.exec_driver_sql(f"SET LOCAL {limit} = '{LONG_SECONDS}s'")
    raw = connection.connection.driver_connection
    assert isinstance(raw, BoundedConnection)
    raw.call_seconds, usual = LONG_SECONDS, raw.call_seconds
    try:
        yield
    finally:
        raw.call_seconds = usual


def _refusal(error: object) -> str:
    """Say what a person must mend; "" where waiting may help."""
    state = getattr(error, "sqlstate", None) or ""
    if state:
        return _REFUSALS.get(state[:2], "")
    found = _NO_SESSION.search(str(error))
    return "" if found is None else _REFUSALS["3D" if found["database"] else "28"]


def _said(error: object) -> str:
    """Give what the server or libpq said, on one line."""
    return " ".join(str(error).split()).removeprefix("connection is bad: ")
