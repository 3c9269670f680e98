"""Everything out of a database, and everything into an empty one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Connection, Table, insert, select
from sqlalchemy.exc import DataError, IntegrityError

from supervisor import Counter, SupervisorError, from_json, to_json
from supervisor_sql.tables import KINDS, Kind, counters

Row = Any
CHUNK = 500  # rows that a dump or a load holds in memory


def dump(connection: Connection) -> Iterator[Row]:
    """Yield the counters, then every record, kind by kind; as Store.dump.

    Raises SupervisorError("not-copied") for a record that this version cannot read in full.
    """
    for row in connection.execute(select(counters).order_by(counters.c.kind)).all():
        yield Counter(kind=row.kind, last=row.last)
    for kind, held in KINDS.items():
        query = select(held.table.c.data).order_by(*(held.table.c[name] for name in held.order))
        found = connection.execute(query, execution_options={"yield_per": CHUNK})
        for data in found.scalars():
            yield _whole(kind, held, data)


def load(connection: Connection, rows: Iterable[Row]) -> None:
    """Write everything into empty tables; as Store.load."""
    for table in (counters, *(held.table for held in KINDS.values())):
        if connection.execute(select(table).limit(1)).first() is not None:
            raise SupervisorError("conflict", f"the store is not empty: it holds {table.name}")
    for kind, neighbours in groupby(rows, key=_kind_of):
        while chunk := list(islice(neighbours, CHUNK)):
            _insert(connection, kind, chunk)


def _insert(connection: Connection, kind: str, chunk: list[Row]) -> None:
    table, columns = _columns(kind, chunk)
    try:
        with connection.begin_nested():
            connection.execute(insert(table), columns)
    except (DataError, IntegrityError, OverflowError, UnicodeEncodeError) as error:
        if len(chunk) == 1:
            reason = getattr(error, "orig", None) or error
            raise _refused(kind, columns[0], str(reason)) from None
        for one in chunk:  # which of them is it?
            _insert(connection, kind, [one])


def _columns(kind: str, chunk: list[Row]) -> tuple[Table, list[dict[str, Any]]]:
    if kind == "counter":
        return counters, [to_json(one) for one in chunk]
    held = KINDS[kind]
    return held.table, [held.row(one, to_json(one)) for one in chunk]


def _kind_of(row: Row) -> str:
    if isinstance(row, Counter):
        return "counter"
    for kind, held in KINDS.items():
        if isinstance(row, held.type):
            return kind
    raise ValueError(f"{row!r} is of no known kind")


def _whole(kind: str, held: Kind, data: Any) -> Row:
    try:
        record = from_json(held.type, data)
    except ValueError as error:
        raise _refused(kind, data, str(error)) from None
    unknown = sorted(_unknown(data, to_json(record)))
    if unknown:
        raise _refused(kind, data, f"this version does not know its {', '.join(unknown)}")
    return record


def _unknown(data: Any, known: Any) -> Iterator[str]:
    """Yield the keys of `data`, also of what lies in it, that are not in `known`."""
    if isinstance(data, dict) and isinstance(known, dict):
        for key, value in data.items():
            if key not in known:
                yield str(key)
            else:
                yield from _unknown(value, known[key])


def _refused(kind: str, data: Any, reason: str) -> SupervisorError:
    name = data.get("id") or data.get("run") or data.get("kind")
    said = " ".join(reason.split())
    return SupervisorError("not-copied", f"the {kind} {name} cannot be copied: {said}")
