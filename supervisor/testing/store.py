"""StoreContract: what every store promises, as tests. Public: subclass it for a store of your own.

class TestMyStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path):
        store = MyStore(tmp_path)
        store.migrate()
        yield store
        store.close()

    @pytest.fixture
    def away(self, store): ...   # a callable after which the database does not answer
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

from supervisor.errors import StoreConflict, StoreUnavailable, SupervisorError
from supervisor.interfaces import Change, Counter, Row, Store
from supervisor.lifecycle import State
from supervisor.model import (
    Bundle,
    BundleId,
    Cause,
    Content,
    ContentId,
    ContentKind,
    Deployment,
    DeploymentId,
    Exit,
    Guid,
    Limits,
    Node,
    Overrides,
    Purpose,
    Receipt,
    Run,
    RunId,
    Task,
    Transition,
    new_guid,
    new_run_id,
)
from supervisor.testing.leases import LeaseContract, in_threads


def content(number: int, **fields: Any) -> Content:
    """Make a content with every field that its id needs to be told from others."""
    given = {"id": ContentId(number), "guid": new_guid(), "name": f"name-{number}", **fields}
    return Content(**given)


def run(at: int = 0, **fields: Any) -> Run:
    """Make a run whose id is of the millisecond `at`."""
    given = {
        "id": new_run_id(milliseconds=at),
        "key": "key",
        "content": ContentId(1),
        "purpose": Purpose.SERVE,
        **fields,
    }
    return Run(**given)


def new(kind: str, record: Any) -> Change:
    """Say that a record is to be stored that is not there yet."""
    return Change(kind=kind, record=record, was=0)


RECORDS: tuple[tuple[str, Any], ...] = (
    (
        "content",
        Content(
            id=ContentId(7),
            guid=Guid("6c1e4a0c-5d2c-4b6f-9d0b-9f0a0a7a0001"),
            name="a-name",
            title="Überschrift \u2603 \x00 end",
            kind=ContentKind.APP,
            uid=100007,
            scaling=Overrides(least=1, most=3, load_factor=0.25),
            limits=Limits(memory_max=2**40, cpu=0.5),
            environment={"KEY": "a value\nof two lines"},
            active_deployment=DeploymentId(3),
            created=1700000000.123,
            version=4,
        ),
    ),
    (
        "bundle",
        Bundle(
            id=BundleId(2),
            content=ContentId(7),
            digest="a" * 64,
            size=2**41,
            manifest={"files": {"app.R": {"checksum": None}}, "list": [1, 2.5, True]},
        ),
    ),
    (
        "deployment",
        Deployment(
            id=DeploymentId(3),
            content=ContentId(7),
            bundle=BundleId(2),
            runtime="a-runtime",
            app_mode="a-mode",
            entrypoint="app",
        ),
    ),
    (
        "run",
        Run(
            id=RunId("01k" + "0" * 23),
            key="ABCDEFGHabcdefgh",
            content=ContentId(7),
            deployment=DeploymentId(3),
            purpose=Purpose.SERVE,
            state=State.FAILED,
            receipt=Receipt(
                run=RunId("01k" + "0" * 23), executor="an-executor", data={"pid": 4711, "x": [None]}
            ),
            node="a-node",
            started=1.5,
            exit=Exit(signal=9, cause=Cause.MEMORY, detail="too much"),
            version=9,
        ),
    ),
    ("task", Task(id="t1", content=ContentId(7), output=("one", "two"), finished=True, code=1)),
    ("node", Node(id="a-node", lease="node/a-node", host="a host", started=1.5, version=2)),
)


class StoreContract(LeaseContract):
    """The promises of supervisor.Store. A subclass gives the fixtures `store` and `away`."""

    @pytest.fixture
    @abstractmethod
    def store(self) -> Any:
        """Give an empty, migrated store."""

    @pytest.fixture
    def away(self) -> Callable[[], None]:
        """Give a callable after which the database of `store` does not answer."""
        pytest.skip("this store says of no way to take its database away")

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

        def work(number: int) -> None:
            if number == 0:
                store.apply([new("content", content(each)) for each in numbers])
            else:
                seen.extend(len(store.find("content")) for _ in range(10))

        in_threads(3, work)
        assert {0, len(numbers)} >= set(seen)

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
        store.apply([new("content", content(1))])
        store.migrate()
        assert store.get("content", 1) is not None

    def test_closing_twice_is_closing(self, store: Store) -> None:
        store.close()
        store.close()


def run_key(store: Store) -> str:
    """Give the id of the one run that the store holds."""
    (only,) = store.find("run")
    return str(only.id)
