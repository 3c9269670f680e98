"""The whole way: told, woken, dumped and loaded, from one core to the next."""

from __future__ import annotations

import select
from collections.abc import Callable, Iterator
from contextlib import closing

import attrs
import pytest

from supervisor.errors import StoreConflict, SupervisorError
from supervisor.interfaces import Change, Counter, Row, Store
from supervisor.listener import Listener
from supervisor.model import (
    ContentId,
    Task,
    Transition,
    new_run_id,
)
from supervisor.testing.store.fixtures import StoreFixtures
from supervisor.testing.store.made import RECORDS, content, new, run


class Flows(StoreFixtures):
    """The feed, listening, dumping and loading, the next core."""

    # The feed

    def test_the_feed_names_what_changed_after_the_cursor(self, store: Store) -> None:
        start, nothing = store.changes(0)
        assert [] == list(nothing)
        store.apply([new("content", content(1))])
        middle, first = store.changes(start)
        store.apply([new("run", run(1)), new("task", Task(id="t"))])
        end, second = store.changes(middle)
        assert [("content", "1")] == [(event.kind, event.key) for event in first]
        assert [("run", run_key(store)), ("task", "t")] == [(e.kind, e.key) for e in second]
        assert (end, []) == (store.changes(end)[0], list(store.changes(end)[1]))

    # Dumping and loading

    def test_what_was_dumped_can_be_loaded_and_is_the_same(self, store: Store) -> None:
        moved = Transition(run=new_run_id(), content=ContentId(7), was="a", now="b", event="e")
        for kind, record in RECORDS:
            store.apply([new(kind, record)])
        store.apply([Change(kind="transition", record=moved)])
        assert [1, 2] == [store.next_id("content") for _ in range(2)]
        rows = list(store.dump())
        assert [Counter(kind="content", last=2)] == [r for r in rows if isinstance(r, Counter)]
        assert [*(record for _, record in RECORDS), moved] == [
            row for row in rows if not isinstance(row, Counter)
        ]
        for kind, record in RECORDS:
            store.apply([Change(kind=kind, record=record, remove=True)])
        with pytest.raises(SupervisorError) as caught:
            store.load(rows)  # it holds a transition, and has given ids
        assert "conflict" == caught.value.code

    def test_what_was_loaded_is_there_and_ids_go_on(self, store: Store) -> None:
        moved = Transition(run=new_run_id(), content=ContentId(7), was="a", now="b", event="e")
        rows: list[Row] = [Counter(kind="content", last=9), *(r for _, r in RECORDS), moved]
        store.load(iter(rows))
        assert rows == list(store.dump())
        assert 10 == store.next_id("content")
        for kind, record in RECORDS:
            assert record == store.get(kind, record.id)

    def test_a_load_that_fails_leaves_nothing(self, store: Store) -> None:
        def broken() -> Iterator[Row]:
            yield Counter(kind="content", last=9)
            yield content(1)
            raise ValueError("the file ends here")

        with pytest.raises(ValueError, match="the file ends here"):
            store.load(broken())
        assert [] == list(store.dump())
        assert 1 == store.next_id("content")

    def test_a_dump_is_of_one_moment_while_others_write(self, store: Store) -> None:
        store.apply([new("content", content(number)) for number in (1, 2)])
        rows = store.dump()
        seen = [next(rows)]
        store.apply([new("content", content(3)), new("run", run())])
        assert 2 == len([*seen, *rows])

    def test_a_listener_wakes_for_what_was_written(self, store: Store) -> None:
        listener = _listener(store)
        try:
            assert not _is_woken(listener, 0.2)
            for number in (1, 2):
                store.apply([new("content", content(number))])
                assert _is_woken(listener, 5.0)
                listener.clear()
            assert not _is_woken(listener, 0.2)
        finally:
            listener.close()

    def test_a_listener_sleeps_while_nothing_is_written(self, store: Store) -> None:
        store.apply([new("content", content(1))])
        listener = _listener(store)
        try:
            with pytest.raises(StoreConflict):
                store.apply([new("content", content(1))])
            store.get("content", 1)
            assert not _is_woken(listener, 0.2)
        finally:
            listener.close()
            listener.close()

    # From one core to the next

    def test_what_was_written_is_there_for_the_next_core(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        lease = store.claim("l", "me", 60.0)
        moved = Transition(run=new_run_id(), content=ContentId(1), was="a", now="b", event="e")
        store.apply([new(kind, record) for kind, record in RECORDS])
        store.apply([Change(kind="transition", record=moved)])
        assert 1 == store.next_id("content")
        cursor, _ = store.changes(0)
        store.close()
        with closing(another()) as later:
            later.migrate()
            assert [*(record for _, record in RECORDS), moved] == [
                row for row in later.dump() if not isinstance(row, Counter)
            ]
            assert 2 == later.next_id("content")
            assert lease == later.holder("l")
            later.apply([new("content", content(1))])
            assert 1 == len(later.changes(cursor)[1])

    def test_two_cores_share_ids_versions_and_leases(
        self, store: Store, another: Callable[[], Store]
    ) -> None:
        first = content(1)
        store.apply([new("content", first)])
        with closing(another()) as other:
            assert first == other.get("content", 1)
            assert [1, 2, 3] == [store.next_id("run"), other.next_id("run"), store.next_id("run")]
            other.apply([Change(kind="content", record=attrs.evolve(first, version=2), was=1)])
            with pytest.raises(StoreConflict):
                store.apply([Change(kind="content", record=attrs.evolve(first, version=2), was=1)])
            assert store.claim("l", "me", 60.0) is not None
            assert other.claim("l", "you", 60.0) is None


def _listener(store: Store) -> Listener:
    listener = store.listen()
    if listener is None:
        pytest.skip("not claimed: listen")
    return listener


def _is_woken(listener: Listener, seconds: float) -> bool:
    return bool(select.select([listener], [], [], seconds)[0])


def run_key(store: Store) -> str:
    """Give the id of the one run that the store holds."""
    (only,) = store.find("run")
    return str(only.id)
