"""Single situations: what is found, threads at once, a database that is away."""

from __future__ import annotations

import threading

import attrs
import pytest

from supervisor.errors import StoreConflict
from supervisor.interfaces import Change, Store
from supervisor.lifecycle import State
from supervisor.model import (
    Content,
    ContentId,
    Purpose,
    Task,
    Transition,
    new_run_id,
)
from supervisor.testing.leases import in_threads
from supervisor.testing.store.fixtures import StoreFixtures
from supervisor.testing.store.made import content, new, run


class Scenarios(StoreFixtures):
    """Finding, transitions, threads, trouble."""

    # Finding

    def test_records_are_found_by_their_indexed_fields(self, store: Store) -> None:
        one = run(1, state=State.READY, node="n1")
        two = run(2, state=State.READY, node="n2")
        three = run(3, state=State.LOST, node="n1", content=ContentId(2))
        store.apply([new("run", each) for each in (three, one, two)])
        assert [one, two] == list(store.find("run", {"state": State.READY}))
        assert [one] == list(store.find("run", {"state": "ready", "node": "n1"}))
        assert [three] == list(store.find("run", {"content": 2}))
        assert [one, two, three] == list(store.find("run", {"purpose": Purpose.SERVE}))
        assert [] == list(store.find("run", {"deployment": 5}))

    def test_a_tuple_or_a_list_means_one_of(self, store: Store) -> None:
        one, two = run(1, state=State.READY), run(2, state=State.LOST)
        store.apply([new("run", each) for each in (one, two, run(3))])
        assert [one, two] == list(store.find("run", {"state": (State.READY, State.LOST)}))
        assert [one, two] == list(store.find("run", {"state": ["ready", "lost"]}))
        assert [] == list(store.find("run", {"state": ()}))

    def test_none_finds_what_is_not_set(self, store: Store) -> None:
        living, gone = content(1), content(2, removed=4.0)
        store.apply([new("content", living), new("content", gone)])
        assert [living] == list(store.find("content", {"removed": None}))

    def test_the_newest_come_first_where_asked_and_no_more_than_the_limit(
        self, store: Store
    ) -> None:
        runs = [run(at) for at in range(5)]
        store.apply([new("run", each) for each in runs])
        assert runs[:2] == list(store.find("run", limit=2))
        assert [runs[4], runs[3]] == list(store.find("run", newest_first=True, limit=2))

    def test_tasks_are_ordered_by_the_time_they_were_made(self, store: Store) -> None:
        late, early = Task(id="a", created=2.0), Task(id="b", created=1.0)
        store.apply([new("task", late), new("task", early)])
        assert [early, late] == list(store.find("task"))

    def test_a_field_that_is_not_indexed_is_refused(self, store: Store) -> None:
        with pytest.raises(ValueError, match="title"):
            store.find("content", {"title": "x"})

    # Transitions

    def test_transitions_stay_in_the_order_they_were_told(self, store: Store) -> None:
        one = Transition(run=new_run_id(), content=ContentId(1), was="a", now="b", event="e", at=2)
        two = attrs.evolve(one, was="b", now="c", at=1.0)
        store.apply([Change(kind="transition", record=one)])
        store.apply([Change(kind="transition", record=two)])
        assert [one, two] == list(store.find("transition", {"run": one.run}))
        assert [two] == list(store.find("transition", newest_first=True, limit=1))

    def test_a_transition_that_is_told_twice_is_kept_once(self, store: Store) -> None:
        one = Transition(run=new_run_id(), content=ContentId(1), was="a", now="b", event="e", at=2)
        store.apply([Change(kind="transition", record=one)])
        store.apply([Change(kind="transition", record=one)])
        assert [one] == list(store.find("transition"))

    # Threads

    def test_of_two_threads_that_change_one_version_exactly_one_wins(self, store: Store) -> None:
        first = content(1)
        store.apply([new("content", first)])
        conflicts: list[int] = []

        def change(number: int) -> None:
            record = attrs.evolve(first, title=f"by {number}", version=2)
            try:
                store.apply([Change(kind="content", record=record, was=1)])
            except StoreConflict:
                conflicts.append(number)

        in_threads(4, change)
        assert 3 == len(conflicts)
        winner = store.get("content", 1)
        assert isinstance(winner, Content)
        assert winner.title not in [f"by {number}" for number in conflicts]

    def test_a_reader_sees_all_of_a_transaction_or_nothing(self, store: Store) -> None:
        numbers = range(1, 41)
        seen: list[int] = []
        written = threading.Event()

        def work(number: int) -> None:
            if number == 0:
                try:
                    store.apply([new("content", content(each)) for each in numbers])
                finally:
                    written.set()
                return
            while not written.is_set():
                seen.append(len(store.find("content")))

        in_threads(3, work)
        assert {0, len(numbers)} >= set(seen)
