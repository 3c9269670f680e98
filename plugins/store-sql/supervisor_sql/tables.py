"""The tables: each kind of record has its key, what it is found by, its version and itself as JSON.

A change of anything here needs a migration; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
)

from supervisor import Bundle, Content, Deployment, Node, Run, Task, Transition

metadata = MetaData()

# a growing number: SQLite counts up by itself only where the type is exactly INTEGER
Sequence = BigInteger().with_variant(Integer(), "sqlite")


@attrs.frozen(kw_only=True)
class Kind:
    """How records of one kind are kept: their class, their table, and what it is found by."""

    type: type[Any]
    table: Table
    indexed: tuple[str, ...]
    order: tuple[str, ...] = ("id",)

    def row(self, record: Any, data: Any) -> dict[str, Any]:
        """Give the columns of a record, `data` being the record as JSON."""
        row = {name: _plain(getattr(record, name)) for name in self.indexed}
        if "version" in self.table.c:
            row["version"] = getattr(record, "version", 1)
        return {**row, "data": data}


def _plain(value: Any) -> Any:
    return value.value if hasattr(value, "value") else value


contents = Table(
    "contents",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("guid", String(36), nullable=False, unique=True),
    Column("name", String(64), nullable=False),
    Column("removed", Float),
    Column("version", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)
# the name of a removed content is free again
_LIVING = contents.c.removed.is_(None)
Index(
    "contents_name",
    contents.c.name,
    unique=True,
    sqlite_where=_LIVING,
    postgresql_where=_LIVING,
)

bundles = Table(
    "bundles",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("content", Integer, nullable=False, index=True),
    Column("digest", String(64), nullable=False, index=True),
    Column("state", String(16), nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

deployments = Table(
    "deployments",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("content", Integer, nullable=False, index=True),
    Column("bundle", Integer, nullable=False, index=True),
    Column("version", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

runs = Table(
    "runs",
    metadata,
    Column("id", String(26), primary_key=True),
    Column("content", Integer, nullable=False, index=True),
    Column("deployment", Integer),
    Column("purpose", String(16), nullable=False),
    Column("state", String(16), nullable=False, index=True),
    Column("node", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("content", Integer, index=True),
    Column("finished", Boolean, nullable=False),
    Column("created", Float, nullable=False),
    Column("version", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

nodes = Table(
    "nodes",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("data", JSON, nullable=False),
)

# rows are only ever added; what is told twice (after a crash) is kept once
transitions = Table(
    "transitions",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("run", String(26), nullable=False),
    Column("content", Integer, nullable=False, index=True),
    Column("now", String(16), nullable=False),
    Column("at", Float, nullable=False),
    Column("data", JSON, nullable=False),
    UniqueConstraint("run", "now", "at", name="transitions_once"),
)

counters = Table(
    "counters",
    metadata,
    Column("kind", String(32), primary_key=True),
    Column("last", Integer, nullable=False),
)

# a row is never removed, so that fences only grow; an empty owner: given back
leases = Table(
    "leases",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("owner", String(255), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires", Float, nullable=False),
)

feed = Table(
    "changes",
    metadata,
    Column("sequence", Sequence, primary_key=True, autoincrement=True),
    Column("kind", String(32), nullable=False),
    Column("key", String(64), nullable=False),
    sqlite_autoincrement=True,  # a sequence is not given again after the oldest were forgotten
)

KINDS: Mapping[str, Kind] = {
    "content": Kind(type=Content, table=contents, indexed=("id", "guid", "name", "removed")),
    "bundle": Kind(type=Bundle, table=bundles, indexed=("id", "content", "digest", "state")),
    "deployment": Kind(type=Deployment, table=deployments, indexed=("id", "content", "bundle")),
    "run": Kind(
        type=Run,
        table=runs,
        indexed=("id", "content", "deployment", "purpose", "state", "node"),
    ),
    "task": Kind(
        type=Task,
        table=tasks,
        indexed=("id", "content", "finished", "created"),
        order=("created", "id"),
    ),
    "node": Kind(type=Node, table=nodes, indexed=("id",)),
    "transition": Kind(
        type=Transition,
        table=transitions,
        indexed=("run", "content", "now", "at"),
        order=("sequence",),
    ),
}
