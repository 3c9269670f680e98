"""Backend: what differs from one database to the next. Everything else is the store's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table
from sqlalchemy.exc import DBAPIError

from supervisor import Listener, SupervisorError


class Backend(ABC):
    """One database: its transactions, its clock, its migrations' lock, and what its errors mean.

    insert: the dialect's own INSERT, which has on_conflict_do_nothing and on_conflict_do_update.
    """

    insert: Callable[[Table], Any]

    @abstractmethod
    def reading(self) -> AbstractContextManager[Connection]:
        """Open a transaction that sees one state of the database and writes nothing."""

    @abstractmethod
    def writing(self) -> AbstractContextManager[Connection]:
        """Open a transaction that commits durably at the end of the block, or not at all.

        Of two at the same time one waits before its first statement.
        """

    @abstractmethod
    def migrating(self) -> AbstractContextManager[Connection]:
        """Open a transaction in which the schema may change; one at a time in the world."""

    def dumping(self) -> AbstractContextManager[Connection]:
        """Open a transaction as `reading` does, which may take long."""
        return self.reading()

    @abstractmethod
    def back_up(self, revision: str) -> None:
        """Keep a copy of the database at this revision, where that is ours to do."""

    def tell(self, connection: Connection) -> None:
        """Wake those who listen, once the transaction is durable."""
        return  # nobody can listen

    def listen(self) -> Listener | None:
        """Give what is woken by `tell`, as Store.listen does."""
        return None

    @property
    @abstractmethod
    def now(self) -> ColumnElement[float]:
        """The database's clock, as seconds since 1970."""

    @abstractmethod
    def meaning(self, error: DBAPIError, *, starting: bool) -> SupervisorError:
        """Say what an error of the database means: StoreUnavailable, StoreConflict, …

        starting: nothing has worked yet, so what a person must mend is data-dir-unusable.
        """

    @abstractmethod
    def close(self) -> None:
        """Close every connection. Idempotent."""
