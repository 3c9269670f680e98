"""From one database to the other: what arrives, what is refused and by what name."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from supervisor_sql.address import PostgresSettings
from supervisor_sql.postgres import Postgres
from supervisor_sql.sqlite import Sqlite
from supervisor_sql.store import SqlStore

from supervisor import Change, SupervisorError, Transition, new_run_id
from supervisor.testing.store import RECORDS, content, new, run

pytestmark = pytest.mark.system


@pytest.fixture
def source(tmp_path: Path) -> Iterator[SqlStore]:
    store = SqlStore(Sqlite(tmp_path))
    store.migrate()
    store.apply([new(kind, record) for kind, record in RECORDS])
    yield store
    store.close()


@pytest.fixture
def target(postgres_url: str) -> Iterator[SqlStore]:
    store = SqlStore(Postgres(PostgresSettings(url=postgres_url)))
    store.migrate()
    yield store
    store.close()


def refused(source: SqlStore, target: SqlStore) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        target.load(source.dump())
    assert [] == list(target.dump())
    return caught.value


def test_a_whole_store_arrives_and_comes_back(
    source: SqlStore, target: SqlStore, tmp_path: Path
) -> None:
    moves = [
        Transition(run=new_run_id(), content=content(1).id, was="a", now="b", event="e", at=at / 7)
        for at in range(1200, 0, -1)
    ]
    source.apply([new("run", run(at)) for at in range(1200)])
    source.apply([Change(kind="transition", record=move) for move in moves])
    assert [1, 2, 3] == [source.next_id("bundle") for _ in range(3)]
    target.load(source.dump())
    everything = list(source.dump())
    assert everything == list(target.dump())
    assert moves == list(target.find("transition"))
    assert 4 == target.next_id("bundle")
    back = SqlStore(Sqlite(tmp_path / "back"))
    back.migrate()
    back.load(target.dump())
    assert len(everything) == len(list(back.dump()))
    back.close()


def test_what_the_other_database_cannot_keep_is_refused_by_its_name(
    source: SqlStore, target: SqlStore
) -> None:
    source.apply([new("content", content(number)) for number in range(100, 700)])
    source.apply([new("content", content(9, name="a\x00b"))])
    error = refused(source, target)
    assert "not-copied" == error.code
    assert "the content 9 cannot be copied" in error.message


def test_two_records_of_which_the_other_database_keeps_one_are_refused(
    source: SqlStore, target: SqlStore, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "supervisor.db")) as other:
        other.execute("DROP INDEX contents_name")
        other.commit()
    source.apply([new("content", content(8, name="a-name"))])
    error = refused(source, target)
    assert "not-copied" == error.code
    assert "the content 8 cannot be copied" in error.message


@pytest.mark.parametrize("what", ["json_set(data, '$.moon', 1)", "json_set(data, '$.id', 'x')"])
def test_a_record_that_cannot_be_read_in_full_is_refused_by_its_name(
    source: SqlStore, target: SqlStore, tmp_path: Path, what: str
) -> None:
    with closing(sqlite3.connect(tmp_path / "supervisor.db")) as other:
        other.execute(f"UPDATE contents SET data = {what}")
        other.commit()
    error = refused(source, target)
    assert "not-copied" == error.code
    assert "the content " in error.message


def test_a_copy_that_is_killed_leaves_the_other_database_empty(
    source: SqlStore, target: SqlStore
) -> None:
    def broken_off() -> Iterator[object]:
        yield from list(source.dump())[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        target.load(broken_off())
    assert [] == list(target.dump())
