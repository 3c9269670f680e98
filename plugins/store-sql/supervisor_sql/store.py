"""SqlStore: the records in a database, one short transaction for each call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import groupby
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.exc import DataError, DBAPIError

from supervisor import (
    Change,
    Lease,
    LeaseLost,
    Listener,
    Store,
    StoreConflict,
    StoreEvent,
    Transition,
    from_json,
    to_json,
)
from supervisor_sql import copying, schema
from supervisor_sql.backend import Backend
from supervisor_sql.tables import KINDS, Kind, contents, counters, feed, leases

Record = Any
Row = Any
REMEMBERED = 10_000  # changes that the feed keeps
MOST_NAMES = 500  # of leases in one query


class SqlStore(Store):
    """A store on a backend (`sqlite.Sqlite`, `postgres.Postgres`)."""

    name = "sql"
    several_nodes = True

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def migrate(self, permit: Callable[[float, Sequence[Lease]], None] | None = None) -> None:
        with self._telling(starting=True):
            schema.migrate(self._backend, permit)

    def next_id(self, kind: str) -> int:
        last = counters.c.last
        with self._writing() as connection:
            grown = (
                update(counters)
                .where(counters.c.kind == kind)
                .values(last=last + 1)
                .returning(last)
            )
            given = connection.execute(grown).scalar()
            if given is None:
                given = 1
                connection.execute(insert(counters).values(kind=kind, last=given))
            return given

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        with self._writing() as connection:
            _check(connection, fence, changes)
            _write(connection, self._backend, changes)
            _tell(connection, self._backend, changes)

    def get(self, kind: str, key: str | int) -> Record | None:
        with self._reading() as connection:
            if kind == "content" and isinstance(key, str):
                named = and_(contents.c.name == key, contents.c.removed.is_(None))
                wanted = or_(contents.c.guid == key, named)
                # a name may look like another content's guid: the guid wins
                order = contents.c.guid == key
                query = select(contents.c.data).where(wanted).order_by(order.desc()).limit(1)
            else:
                table = KINDS[kind].table
                query = select(table.c.data).where(table.c.id == key)
            try:
                data = connection.execute(query).scalar()
            except (OverflowError, UnicodeEncodeError, DataError):
                return None  # a number or text from outside that no row can have
        return None if data is None else from_json(KINDS[kind].type, data)

    def find(
        self,
        kind: str,
        where: Mapping[str, Any] | None = None,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Sequence[Any]:
        held = KINDS[kind]
        query = select(held.table.c.data).where(*_conditions(kind, held, where or {}))
        columns = [held.table.c[name] for name in held.order]
        query = query.order_by(*(c.desc() if newest_first else c for c in columns)).limit(limit)
        with self._reading() as connection:
            found = connection.execute(query).scalars().all()
        return [from_json(held.type, data) for data in found]

    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        claimed = self.claim_all([name], owner, ttl)
        return claimed[0] if claimed else None

    def claim_all(self, names: Sequence[str], owner: str, ttl: float) -> Sequence[Lease]:
        with self._writing() as connection:
            now = connection.execute(select(self._backend.now)).scalar_one()
            held = {lease.name: lease for lease in _leases(connection, names)}
            ours = [
                _claimed(held.get(name), name, owner, now, ttl) for name in dict.fromkeys(names)
            ]
            claimed = [lease for lease in ours if lease is not None]
            if claimed:
                upsert = self._backend.insert(leases)
                replaced = {c.name: upsert.excluded[c.name] for c in leases.c if c.name != "name"}
                connection.execute(
                    upsert.on_conflict_do_update(index_elements=["name"], set_=replaced),
                    [to_json(lease) for lease in claimed],
                )
            return claimed

    def leases(self) -> tuple[float, Sequence[Lease]]:
        with self._reading() as connection:
            return schema.all_leases(connection, self._backend)

    def holder(self, name: str) -> Lease | None:
        with self._reading() as connection:
            held = _leases(connection, [name])
        return held[0] if held and held[0].owner else None

    def release(self, lease: Lease) -> None:
        self.release_all([lease])

    def release_all(self, leases: Sequence[Lease]) -> None:
        if leases:
            with self._writing() as connection:
                ours = [
                    {f"_{name}": value for name, value in to_json(one).items()} for one in leases
                ]
                connection.execute(_GIVE_BACK, ours)

    def changes(self, since: int) -> tuple[int, Sequence[StoreEvent]]:
        query = select(feed).where(feed.c.sequence > since).order_by(feed.c.sequence)
        with self._reading() as connection:
            rows = connection.execute(query).all()
        cursor = rows[-1].sequence if rows else since
        return cursor, [StoreEvent(kind=row.kind, key=row.key) for row in rows]

    def listen(self) -> Listener | None:
        return self._backend.listen()

    def dump(self) -> Iterator[Row]:
        with self._in(self._backend.dumping()) as connection:
            yield from copying.dump(connection)

    def load(self, rows: Iterable[Row]) -> None:
        with self._in(self._backend.migrating()) as connection:
            copying.load(connection, rows)

    def close(self) -> None:
        self._backend.close()

    def _reading(self) -> AbstractContextManager[Connection]:
        return self._in(self._backend.reading())

    def _writing(self) -> AbstractContextManager[Connection]:
        return self._in(self._backend.writing())

    @contextmanager
    def _in(self, transaction: AbstractContextManager[Connection]) -> Iterator[Connection]:
        with self._telling(starting=False), transaction as connection:
            yield connection

    @contextmanager
    def _telling(self, *, starting: bool) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise self._backend.meaning(error, starting=starting) from error


def _check(connection: Connection, fence: Lease | None, changes: Sequence[Change]) -> None:
    """Raise LeaseLost where one of the leases is not the newest of its name."""
    fences = {(lease.name, lease.owner, lease.fence) for lease in _fences(fence, changes)}
    found = _leases(connection, sorted({name for name, _, _ in fences}))
    stale = fences - {(lease.name, lease.owner, lease.fence) for lease in found}
    if stale:
        raise LeaseLost(min(stale)[0])


def _fences(fence: Lease | None, changes: Sequence[Change]) -> Iterator[Lease]:
    for each in (fence, *(change.fence for change in changes)):
        if each is not None:
            yield each


def _leases(connection: Connection, names: Sequence[str]) -> list[Lease]:
    found: list[Lease] = []
    for start in range(0, len(names), MOST_NAMES):
        query = select(leases).where(leases.c.name.in_(names[start : start + MOST_NAMES]))
        found += [Lease(**row._mapping) for row in connection.execute(query)]
    return found


def _claimed(held: Lease | None, name: str, owner: str, now: float, ttl: float) -> Lease | None:
    """Give the lease as it is once the owner has claimed it; None where somebody else holds it."""
    if held is None:
        return Lease(name=name, owner=owner, fence=1, expires=now + ttl)
    if held.owner not in (owner, "") and held.expires > now:
        return None
    fence = held.fence if held.owner == owner else held.fence + 1
    return Lease(name=name, owner=owner, fence=fence, expires=now + ttl)


def _write(connection: Connection, backend: Backend, written: Sequence[Change]) -> None:
    """Write with one statement for neighbours of one form; each kind's changes keep their order."""
    ordered = sorted(written, key=lambda change: change.kind)
    for (kind, form), group in groupby(ordered, key=lambda change: (change.kind, _form(change))):
        held = KINDS[kind]
        rows = [_row(held, change) for change in group]
        if form.startswith("remove"):
            _remove(connection, kind, rows, form)
        elif form == "new":
            connection.execute(insert(held.table), rows)
        elif form == "append":
            connection.execute(backend.insert(held.table).on_conflict_do_nothing(), rows)
        elif form == "replace":
            upsert = backend.insert(held.table)
            replaced = {name: upsert.excluded[name] for name in rows[0] if name != "id"}
            connection.execute(
                upsert.on_conflict_do_update(index_elements=["id"], set_=replaced), rows
            )
        elif connection.execute(_UPDATES[kind], rows).rowcount != len(rows):
            keys = ", ".join(str(row["id"]) for row in rows)
            raise StoreConflict(f"somebody else changed {kind} {keys} first")


def _remove(connection: Connection, kind: str, rows: Sequence[dict[str, Any]], form: str) -> None:
    """Remove records, of runs their transitions as well."""
    table, moves = KINDS[kind].table, KINDS["transition"].table
    wanted = table.c.id == bindparam("_id")
    if form == "remove-as-it-was":
        wanted = and_(wanted, table.c.version == bindparam("_was"))
    gone = connection.execute(delete(table).where(wanted), rows).rowcount
    if form == "remove-as-it-was" and gone != len(rows):
        keys = ", ".join(str(row["_id"]) for row in rows)
        raise StoreConflict(f"somebody else changed {kind} {keys} first")
    if kind == "run":
        runs = [{"_id": row["_id"]} for row in rows]
        connection.execute(delete(moves).where(moves.c.run == bindparam("_id")), runs)


def _form(change: Change) -> str:
    if change.remove:
        return "remove" if change.was is None else "remove-as-it-was"
    if isinstance(change.record, Transition):
        return "append"
    if change.was is None:
        return "replace"
    return "new" if change.was == 0 else "change"


def _row(held: Kind, change: Change) -> dict[str, Any]:
    if change.remove:
        if isinstance(change.record, Transition):
            raise ValueError("transitions go with their run")
        known = {} if change.was is None else {"_was": change.was}
        return {"_id": change.record.id, **known}
    row = held.row(change.record, to_json(change.record))
    return {**row, "_id": row["id"], "_was": change.was} if change.was else row


_GIVE_BACK = (
    update(leases)
    .where(*(leases.c[name] == bindparam(f"_{name}") for name in ("name", "owner", "fence")))
    .values(owner="", expires=0.0)
)

_UPDATES = {
    kind: update(held.table).where(
        held.table.c.id == bindparam("_id"), held.table.c.version == bindparam("_was")
    )
    for kind, held in KINDS.items()
    if "version" in held.table.c
}


def _tell(connection: Connection, backend: Backend, written: Sequence[Change]) -> None:
    """Add to the feed; transitions are not told, since their run is."""
    told = [
        {"kind": change.kind, "key": str(change.record.id)}
        for change in written
        if not isinstance(change.record, Transition)
    ]
    if not told:
        return
    connection.execute(insert(feed), told)
    backend.tell(connection)
    newest = connection.execute(select(func.max(feed.c.sequence))).scalar_one()
    if newest // 1000 != (newest - len(told)) // 1000:
        connection.execute(delete(feed).where(feed.c.sequence <= newest - REMEMBERED))


def _conditions(kind: str, held: Kind, where: Mapping[str, Any]) -> Iterator[ColumnElement[bool]]:
    for name, value in where.items():
        if name not in held.indexed:
            raise ValueError(f"{kind} records are not indexed by {name!r}")
        column = held.table.c[name]
        if isinstance(value, tuple | list | frozenset):
            yield column.in_(value)
        else:
            yield column == value
