"""What holds of every record and every call, whatever came before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import pytest

from supervisor.errors import StoreConflict, StoreUnavailable
from supervisor.interfaces import Change, Store
from supervisor.lifecycle import State
from supervisor.model import (
    ContentId,
    Lease,
    Transition,
    new_run_id,
)
from supervisor.testing.leases import in_threads
from supervisor.testing.store.fixtures import StoreFixtures
from supervisor.testing.store.made import RECORDS, content, new, run


class Invariants(StoreFixtures):
    """Records, compare-and-set, removing, ids."""

    # Records

    @pytest.mark.parametrize(("kind", "record"), RECORDS, ids=[kind for kind, _ in RECORDS])
    def test_a_record_comes_back_as_it_was_stored(
        self, store: Store, kind: str, record: Any
    ) -> None:
        store.apply([new(kind, record)])
        assert record == store.get(kind, record.id)
        assert [record] == list(store.find(kind))

    def test_what_is_not_there_is_none(self, store: Store) -> None:
        assert store.get("content", 1) is None
        assert store.get("content", "name") is None
        assert store.get("run", "01k") is None
        assert [] == list(store.find("bundle"))

    @pytest.mark.parametrize(
        "key", [10**30, -1, 0, "", "\udcff", "a\x00b", "' OR 1=1 --", "x" * 10**5]
    )
    def test_a_key_that_nothing_can_have_finds_nothing(self, store: Store, key: str | int) -> None:
        store.apply([new("content", content(1))])
        assert store.get("content", key) is None

    def test_a_content_is_found_by_its_guid_and_its_name(self, store: Store) -> None:
        wanted = content(1)
        store.apply([new("content", wanted), new("content", content(2))])
        assert wanted == store.get("content", wanted.guid)
        assert wanted == store.get("content", wanted.name)

    def test_a_removed_content_frees_its_name_and_is_found_by_guid(self, store: Store) -> None:
        first = content(1, name="app")
        second = content(2, name="app")
        gone = attrs.evolve(first, removed=5.0, version=2)
        store.apply([new("content", first)])
        store.apply([Change(kind="content", record=gone, was=1)])
        assert store.get("content", "app") is None
        store.apply([new("content", second)])
        assert second == store.get("content", "app")
        assert gone == store.get("content", first.guid)

    def test_two_living_contents_cannot_have_one_name(self, store: Store) -> None:
        store.apply([new("content", content(1, name="app"))])
        with pytest.raises(StoreConflict):
            store.apply([new("content", content(2, name="app"))])
        assert 1 == len(store.find("content"))

    # Compare-and-set

    def test_a_new_record_conflicts_with_one_that_is_there(self, store: Store) -> None:
        first = content(1)
        store.apply([new("content", first)])
        with pytest.raises(StoreConflict):
            store.apply([new("content", attrs.evolve(first, title="another"))])
        assert first == store.get("content", 1)

    def test_a_change_of_an_older_version_conflicts(self, store: Store) -> None:
        first = content(1)
        second = attrs.evolve(first, title="second", version=2)
        store.apply([new("content", first)])
        store.apply([Change(kind="content", record=second, was=1)])
        with pytest.raises(StoreConflict):
            store.apply([Change(kind="content", record=second, was=1)])
        assert second == store.get("content", 1)

    def test_a_change_of_what_is_not_there_conflicts(self, store: Store) -> None:
        with pytest.raises(StoreConflict):
            store.apply([Change(kind="content", record=content(1, version=2), was=1)])
        assert store.get("content", 1) is None

    def test_a_change_without_a_version_replaces_whatever_is_there(self, store: Store) -> None:
        queued = run()
        ended = attrs.evolve(queued, state=State.LOST, version=7)
        store.apply([Change(kind="run", record=queued)])
        store.apply([Change(kind="run", record=ended)])
        assert ended == store.get("run", queued.id)
        assert [] == list(store.find("run", {"state": State.QUEUED}))

    def test_a_conflict_leaves_nothing_of_its_transaction(self, store: Store) -> None:
        taken = content(2)
        store.apply([new("content", taken)])
        moved = Transition(run=new_run_id(), content=ContentId(1), was="a", now="b", event="e")
        cursor, _ = store.changes(0)
        with pytest.raises(StoreConflict):
            store.apply(
                [
                    new("content", content(1)),
                    Change(kind="transition", record=moved),
                    new("content", taken),
                ]
            )
        assert store.get("content", 1) is None
        assert [] == list(store.find("transition"))
        assert [] == list(store.changes(cursor)[1])

    # Removing

    @pytest.mark.parametrize(("kind", "record"), RECORDS, ids=[kind for kind, _ in RECORDS])
    def test_a_removed_record_is_gone_and_the_feed_says_so(
        self, store: Store, kind: str, record: Any
    ) -> None:
        store.apply([new(kind, record)])
        cursor, _ = store.changes(0)
        version = getattr(record, "version", 1)
        store.apply([Change(kind=kind, record=record, was=version, remove=True)])
        assert store.get(kind, record.id) is None
        assert [] == list(store.find(kind))
        assert [(kind, str(record.id))] == [(e.kind, e.key) for e in store.changes(cursor)[1]]

    def test_a_removal_of_an_older_version_conflicts_and_leaves_it(self, store: Store) -> None:
        first = content(1)
        second = attrs.evolve(first, title="second", version=2)
        store.apply([new("content", first)])
        store.apply([Change(kind="content", record=second, was=1)])
        for was in (1, 3):
            with pytest.raises(StoreConflict):
                store.apply([Change(kind="content", record=first, was=was, remove=True)])
        assert second == store.get("content", 1)

    def test_a_removal_of_what_is_not_there_conflicts_where_it_says_what_was(
        self, store: Store
    ) -> None:
        with pytest.raises(StoreConflict):
            store.apply([Change(kind="run", record=run(), was=1, remove=True)])

    def test_a_removal_that_says_nothing_of_the_version_may_be_told_again(
        self, store: Store
    ) -> None:
        gone, stays = run(1, version=5), run(2)
        store.apply([new("run", gone), new("run", stays)])
        for _ in range(2):
            store.apply([Change(kind="run", record=gone, remove=True)])
        assert [stays] == list(store.find("run"))

    def test_a_conflict_leaves_what_its_transaction_would_have_removed(self, store: Store) -> None:
        first, second = run(1), run(2)
        store.apply([new("run", first), new("run", second)])
        with pytest.raises(StoreConflict):
            store.apply(
                [
                    Change(kind="run", record=first, was=1, remove=True),
                    Change(kind="run", record=second, was=7, remove=True),
                ]
            )
        assert [first, second] == list(store.find("run"))

    def test_the_transitions_of_a_removed_run_go_with_it(self, store: Store) -> None:
        gone, stays = run(1), run(2)
        moves = [
            Transition(run=each.id, content=ContentId(1), was="a", now="b", event="e")
            for each in (gone, stays)
        ]
        store.apply([new("run", gone), new("run", stays)])
        store.apply([Change(kind="transition", record=move) for move in moves])
        store.apply([Change(kind="run", record=gone, was=1, remove=True)])
        assert moves[1:] == list(store.find("transition"))

    # Ids

    def test_ids_grow_and_each_kind_has_its_own(self, store: Store) -> None:
        assert [1, 2, 3] == [store.next_id("content") for _ in range(3)]
        assert 1 == store.next_id("bundle")

    def test_an_id_is_not_given_again_after_a_removal(self, store: Store) -> None:
        number = store.next_id("content")
        store.apply([new("content", content(number))])
        store.apply([Change(kind="content", record=content(number, removed=1.0, version=2), was=1)])
        assert number + 1 == store.next_id("content")

    def test_threads_never_get_the_same_id(self, store: Store) -> None:
        given: list[int] = []
        in_threads(4, lambda _: given.extend(store.next_id("run") for _ in range(25)))
        assert list(range(1, 101)) == sorted(given)

    # Trouble

    def test_a_database_that_does_not_answer_is_unavailable(
        self, store: Store, away: Callable[[], None]
    ) -> None:
        away()
        with pytest.raises(StoreUnavailable):
            store.apply([new("content", content(1))])
        with pytest.raises(StoreUnavailable):
            store.next_id("content")
        with pytest.raises(StoreUnavailable):
            store.claim("l", "me", 60.0)

    def test_migrating_again_changes_nothing(self, store: Store) -> None:
        def permit(now: float, leases: Sequence[Lease]) -> None:
            raise AssertionError("asked though nothing is to be changed")

        store.apply([new("content", content(1))])
        store.migrate(permit)
        assert store.get("content", 1) is not None

    def test_closing_twice_is_closing(self, store: Store) -> None:
        store.close()
        store.close()
