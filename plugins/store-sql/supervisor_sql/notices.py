"""Notices: LISTEN, as something that becomes readable."""

from __future__ import annotations

from typing import Any

import psycopg

from supervisor import Listener, StoreUnavailable

CHANNEL = "content_supervisor"


class Notices(Listener):
    """A connection that listens. Nothing blocks after it was made."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        connection.autocommit = True
        connection.execute(f"LISTEN {CHANNEL}".encode())

    def fileno(self) -> int:
        return self._connection.pgconn.socket

    def clear(self) -> None:
        pgconn = self._connection.pgconn
        try:
            pgconn.consume_input()
            while pgconn.notifies() is not None:
                pass
        except psycopg.Error as error:
            raise StoreUnavailable(f"the database has hung up: {error}") from error

    def close(self) -> None:
        self._connection.close()
