"""Connections of psycopg whose calls end: a server that hangs must not hang us."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

from supervisor import SupervisorError
from supervisor_sql.address import PostgresSettings, password_of

T = TypeVar("T")

CALL_SECONDS = 10.0
LONG_SECONDS = 600.0  # for migrations and copies of everything

# The server's own limits, in seconds, come before ours, so that what it gives up is rolled back in
# order. The last one frees the writers' lock of a node that was paused while it held it.
LIMITS = {"statement_timeout": 8, "lock_timeout": 8, "idle_in_transaction_session_timeout": 4}


class BoundedConnection(psycopg.Connection[Any]):
    """A connection whose every call ends within call_seconds; one that does not is closed."""

    call_seconds = CALL_SECONDS

    def wait(
        self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None
    ) -> T:
        """Wait as psycopg does, and give up in the end."""
        return super().wait(self._bounded(gen), interval, timeout)

    def _bounded(self, waiting: Generator[Any, Any, T]) -> Generator[Any, Any, T]:
        end = time.monotonic() + self.call_seconds
        try:
            wanted = next(waiting)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > end:
                    self.pgconn.finish()  # whatever it says now, nobody would know to which call
                    raise psycopg.OperationalError(
                        f"the server has not answered for {self.call_seconds:g} s"
                    )
                wanted = waiting.send(ready)
        except StopIteration as answer:
            result: T = answer.value
            return result


def connect(settings: PostgresSettings, *, call_seconds: float) -> BoundedConnection:
    """Open a connection. Raises psycopg.OperationalError, also for a password that is not there."""
    given: dict[str, Any] = {
        "application_name": "content-supervisor",
        "connect_timeout": 5,
        "tcp_user_timeout": int(call_seconds * 1000),
    }
    given = {key: value for key, value in given.items() if f"{key}=" not in settings.url}
    try:
        password = password_of(settings)
    except SupervisorError as error:
        raise psycopg.OperationalError(error.message) from error
    if password is not None:
        given["password"] = password
    connection = BoundedConnection.connect(settings.url, autocommit=True, **given)
    connection.call_seconds = call_seconds
    limits = "".join(f"SET {name} = '{seconds}s';" for name, seconds in LIMITS.items())
    connection.execute(f"{limits} SET synchronous_commit = on".encode())
    connection.autocommit = False
    return connection
