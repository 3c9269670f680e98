"""StoreContract is held by what it refuses: each broken store fails the tests it names."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import pytest

from supervisor.errors import StoreConflict, StoreUnavailable
from supervisor.interfaces import Change, Counter, Record, Row, StoreEvent
from supervisor.model import Content, Lease, Transition
from supervisor.testing.fakes import AwayStore, MemoryListener
from supervisor.testing.store import StoreContract
from tests.support.suite import every_test, named_in, parameters


class Good(AwayStore):
    """A store without a fault."""

    def __init__(self) -> None:
        super().__init__(away=False)


class LastWriterWins(Good):
    """It does not look at versions.

    test_a_new_record_conflicts_with_one_that_is_there
    test_a_change_of_an_older_version_conflicts
    test_a_change_of_what_is_not_there_conflicts
    test_a_removal_of_an_older_version_conflicts_and_leaves_it
    test_a_removal_of_what_is_not_there_conflicts_where_it_says_what_was
    test_a_conflict_leaves_nothing_of_its_transaction
    test_a_conflict_leaves_what_its_transaction_would_have_removed
    test_of_two_threads_that_change_one_version_exactly_one_wins
    test_two_cores_share_ids_versions_and_leases
    test_a_listener_sleeps_while_nothing_is_written
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        super().apply([attrs.evolve(change, was=None) for change in changes], fence)


class Piecemeal(Good):
    """It writes change by change, each at once.

    test_a_conflict_leaves_nothing_of_its_transaction
    test_a_conflict_leaves_what_its_transaction_would_have_removed
    test_a_change_under_a_stale_fence_is_refused_with_all_others
    test_a_reader_sees_all_of_a_transaction_or_nothing
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        for change in changes:
            super().apply([change], fence)
            time.sleep(0.0005)


class CountsRows(Good):
    """The next id is one more than the records that are there.

    test_ids_grow_and_each_kind_has_its_own
    test_an_id_is_not_given_again_after_a_removal
    test_threads_never_get_the_same_id
    test_what_was_dumped_can_be_loaded_and_is_the_same
    test_what_was_loaded_is_there_and_ids_go_on
    test_what_was_written_is_there_for_the_next_core
    test_two_cores_share_ids_versions_and_leases
    """

    def next_id(self, kind: str) -> int:
        living = self.find(kind) if kind != "content" else self.find(kind, {"removed": None})
        return len(living) + 1


class RacingIds(Good):
    """It reads the last id and writes the next in two steps.

    test_threads_never_get_the_same_id
    """

    def next_id(self, kind: str) -> int:
        self.enter("next_id")
        last = self._counters.get(kind, 0)
        time.sleep(0.001)
        self._counters[kind] = last + 1
        return last + 1


class Twins(Good):
    """Two living contents may have one name.

    test_two_living_contents_cannot_have_one_name
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        with self._lock:
            held: dict[Any, Any] = self._records["content"]
            names = {id: record.name for id, record in held.items()}
            for id, record in held.items():
                held[id] = attrs.evolve(record, name=f"{id}")
            try:
                super().apply(changes, fence)
            finally:
                now: dict[Any, Any] = self._records["content"]
                for id, name in names.items():
                    if id in now and now[id].name == f"{id}":
                        now[id] = attrs.evolve(now[id], name=name)


class NamesForEver(Good):
    """The name of a removed content is never free again.

    test_a_removed_content_frees_its_name_and_is_found_by_guid
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        for change in changes:
            for held in self._records["content"].values():
                new = isinstance(change.record, Content) and change.was == 0
                if new and getattr(held, "name", "") == getattr(change.record, "name", None):
                    raise StoreConflict("the name was taken once")
        super().apply(changes, fence)


class Unfenced(Good):
    """It does not look at fences.

    test_a_write_with_a_stale_fence_is_refused_and_leaves_nothing
    test_a_change_under_a_stale_fence_is_refused_with_all_others
    """

    def _check(self, fence: Lease | None) -> None:
        pass


class Generous(Good):
    """Whoever asks for a lease gets it.

    test_a_lease_that_is_held_is_not_given_to_another
    test_of_two_threads_that_claim_a_lease_exactly_one_gets_it
    test_of_two_threads_that_claim_many_leases_each_goes_to_one
    test_several_leases_are_claimed_at_once_but_for_those_that_are_held
    test_two_cores_share_ids_versions_and_leases
    """

    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        lease = super().claim(name, owner, ttl)
        if lease is None:
            self._leases[name] = attrs.evolve(self._leases[name], expires=0.0)
            lease = super().claim(name, owner, ttl)
        return lease


class SameFence(Good):
    """A new holder of a lease gets the fence of the one before.

    test_an_expired_lease_goes_to_another_with_a_larger_fence
    test_a_lease_given_back_is_free_at_once
    """

    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        lease = super().claim(name, owner, ttl)
        if lease is not None:
            lease = self._leases[name] = attrs.evolve(lease, fence=1)
        return lease


class NewFence(Good):
    """A renewal gets a larger fence, so that what is under way is refused.

    test_a_renewal_keeps_the_fence_and_moves_the_end
    test_several_leases_are_renewed_with_their_fences
    test_a_write_with_the_newest_fence_is_taken
    """

    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        lease = super().claim(name, owner, ttl)
        if lease is not None:
            self.renewals = getattr(self, "renewals", 0) + 1
            lease = self._leases[name] = attrs.evolve(lease, fence=self.renewals)
        return lease


class Stammerer(Good):
    """A transition that is told twice is kept twice.

    test_a_transition_that_is_told_twice_is_kept_once
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        super().apply(changes, fence)
        for change in changes:
            told = sum(change in batch for batch in self.batches)
            if isinstance(change.record, Transition) and told > 1:
                self.transitions.append(change.record)


class DeafFeed(Good):
    """The feed does not tell of tasks.

    test_the_feed_names_what_changed_after_the_cursor
    test_a_removed_record_is_gone_and_the_feed_says_so
    """

    def changes(self, since: int) -> tuple[int, Sequence[StoreEvent]]:
        cursor, events = super().changes(since)
        return cursor, [event for event in events if event.kind != "task"]


class Unsorted(Good):
    """What is found comes as it was stored, the oldest first, and all of it.

    test_records_are_found_by_their_indexed_fields
    test_the_newest_come_first_where_asked_and_no_more_than_the_limit
    test_tasks_are_ordered_by_the_time_they_were_made
    test_transitions_stay_in_the_order_they_were_told
    """

    def find(
        self,
        kind: str,
        where: Mapping[str, Any] | None = None,
        *,
        newest_first: bool = False,
        limit: int | None = None,
    ) -> Sequence[Any]:
        found = super().find(kind, where)
        if kind == "transition":
            return found
        return [record for record in self._records[kind].values() if record in found]


class Credulous(Good):
    """A field that is not indexed is left out of the question.

    test_a_field_that_is_not_indexed_is_refused
    """

    def find(self, kind: str, where: Mapping[str, Any] | None = None, **rest: Any) -> Sequence[Any]:
        known = {key: value for key, value in (where or {}).items() if key != "title"}
        return super().find(kind, known, **rest)


class CStrings(Good):
    """A text ends at its first NUL.

    test_a_record_comes_back_as_it_was_stored
    test_what_was_dumped_can_be_loaded_and_is_the_same
    test_what_was_written_is_there_for_the_next_core
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        super().apply([attrs.evolve(each, record=_cut(each.record)) for each in changes], fence)


def _cut(record: Any) -> Any:
    title = getattr(record, "title", "")
    return attrs.evolve(record, title=title.split("\0")[0]) if "\0" in title else record


class RawErrors(Good):
    """Errors of its database come out as they are.

    test_a_database_that_does_not_answer_is_unavailable
    """

    def enter(self, method: str) -> None:
        try:
            super().enter(method)
        except StoreUnavailable as error:
            raise ConnectionError(str(error)) from None


class Lazy(Good):
    """It acknowledges what it will write when the next call comes, and loses it at its end.

    test_what_was_written_is_there_for_the_next_core
    """

    last: Callable[[], None] | None = None

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        before = {kind: dict(held) for kind, held in self._records.items()}, self.transitions
        super().apply(changes, fence)

        def undo() -> None:
            self._records, self.transitions = before

        self.last = undo

    def close(self) -> None:
        if self.last is not None:
            self.last()


class CloseOnce(Good):
    """It cannot be closed twice.

    test_closing_twice_is_closing
    test_what_was_written_is_there_for_the_next_core
    """

    closed = False

    def close(self) -> None:
        if self.closed:
            raise RuntimeError("closed already")
        self.closed = True


class Eraser(Good):
    """A migration makes the tables anew.

    test_migrating_again_changes_nothing
    test_what_was_written_is_there_for_the_next_core
    """

    def migrate(self, permit: Callable[[float, Sequence[Lease]], None] | None = None) -> None:
        self._records = {kind: {} for kind in self._records}


class NoCounters(Good):
    """A dump has no counters: ids, so uids, would be given again.

    test_what_was_dumped_can_be_loaded_and_is_the_same
    test_what_was_loaded_is_there_and_ids_go_on
    """

    def dump(self) -> Iterator[Row]:
        return (row for row in super().dump() if not isinstance(row, Counter))


class HalfLoaded(Good):
    """A load keeps what came before the fault.

    test_a_load_that_fails_leaves_nothing
    """

    def load(self, rows: Iterable[Row]) -> None:
        taken: list[Row] = []
        try:
            taken.extend(rows)
        finally:
            super().load(taken)


class MovingDump(Good):
    """A dump goes through the records while others write.

    test_a_dump_is_of_one_moment_while_others_write
    """

    def dump(self) -> Iterator[Row]:
        yield from (Counter(kind=kind, last=last) for kind, last in self._counters.items())
        for kind in list(self._records):
            seen: set[object] = set()
            while fresh := [r for key, r in self._records[kind].items() if key not in seen]:
                seen.add(fresh[0].id)
                yield fresh[0]
        yield from self.transitions


class Orphans(Good):
    """The transitions of a run stay when it goes.

    test_the_transitions_of_a_removed_run_go_with_it
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        before = self.transitions
        super().apply(changes, fence)
        self.transitions += [each for each in before if each not in self.transitions]


class Sleeper(Good):
    """Nobody is woken.

    test_a_listener_wakes_for_what_was_written
    """

    def listen(self) -> MemoryListener:
        return MemoryListener()


class Insomniac(Good):
    """Its listener is woken by reading too, and stays awake.

    test_a_listener_wakes_for_what_was_written
    test_a_listener_sleeps_while_nothing_is_written
    """

    def listen(self) -> MemoryListener:
        listener = super().listen()
        listener.wake()
        listener.clear = listener.wake  # type: ignore[method-assign]
        return listener


class OneLease(Good):
    """All leases are one.

    test_leases_of_other_names_do_not_matter
    test_an_expired_lease_goes_to_another_with_a_larger_fence
    test_several_leases_are_claimed_at_once_but_for_those_that_are_held
    test_several_leases_are_given_back_but_for_those_of_others
    """

    def claim(self, name: str, owner: str, ttl: float) -> Lease | None:
        if any(held.owner not in ("", owner) for held in self._leases.values()):
            return None
        return super().claim(name, owner, ttl)


class Nobody(Good):
    """It does not tell who holds a lease.

    test_a_free_lease_goes_to_who_claims_it
    test_a_lease_that_is_held_is_not_given_to_another
    test_an_expired_lease_goes_to_another_with_a_larger_fence
    test_a_lease_that_is_another_s_by_now_cannot_be_given_back
    test_what_was_written_is_there_for_the_next_core
    """

    def holder(self, name: str) -> Lease | None:
        return None


class Robbed(Good):
    """Whoever asks gives a lease back.

    test_a_lease_that_is_another_s_by_now_cannot_be_given_back
    test_several_leases_are_given_back_but_for_those_of_others
    """

    def release(self, lease: Lease) -> None:
        held = self._leases.get(lease.name)
        super().release(lease if held is None else held)


class HidesTheExpired(Good):
    """A lease that is over is told no more.

    test_leases_are_told_with_the_clock_that_they_end_by
    """

    def leases(self) -> tuple[float, Sequence[Lease]]:
        now, leases = super().leases()
        return now, [lease for lease in leases if lease.expires > now]


class FirstOfMany(Good):
    """Of several values that are asked for it takes the first.

    test_a_tuple_or_a_list_means_one_of
    """

    def find(self, kind: str, where: Mapping[str, Any] | None = None, **rest: Any) -> Sequence[Any]:
        many = {k: v for k, v in (where or {}).items() if isinstance(v, tuple | list)}
        first = {k: v[:1] for k, v in many.items()}
        return super().find(kind, {**(where or {}), **first}, **rest)


class NoneIsAll(Good):
    """None in a question means that it does not matter.

    test_none_finds_what_is_not_set
    """

    def find(self, kind: str, where: Mapping[str, Any] | None = None, **rest: Any) -> Sequence[Any]:
        known = {key: value for key, value in (where or {}).items() if value is not None}
        return super().find(kind, known, **rest)


class Raises(Good):
    """What is not there is an error.

    test_what_is_not_there_is_none
    test_a_removed_content_frees_its_name_and_is_found_by_guid
    test_a_write_with_a_stale_fence_is_refused_and_leaves_nothing
    test_a_change_of_what_is_not_there_conflicts
    test_a_key_that_nothing_can_have_finds_nothing
    test_a_conflict_leaves_nothing_of_its_transaction
    test_a_removed_record_is_gone_and_the_feed_says_so
    """

    def get(self, kind: str, key: str | int) -> Record | None:
        found = super().get(kind, key)
        if found is None:
            raise KeyError(key)
        return found


class Guesses(Good):
    """A key that begins like another finds it.

    test_a_key_that_nothing_can_have_finds_nothing
    """

    def get(self, kind: str, key: str | int) -> Record | None:
        names = [getattr(record, "name", None) for record in self._records[kind].values()]
        near = [name for name in names if name and isinstance(key, str) and name.startswith(key)]
        return super().get(kind, near[0] if near else key)


class NamesOnly(Good):
    """A content is not found by its guid.

    test_a_content_is_found_by_its_guid_and_its_name
    test_a_removed_content_frees_its_name_and_is_found_by_guid
    """

    def get(self, kind: str, key: str | int) -> Record | None:
        found = super().get(kind, key)
        return None if kind == "content" and getattr(found, "guid", "") == key else found


class InsertsOnly(Good):
    """A fact about a run that is there is refused.

    test_a_change_without_a_version_replaces_whatever_is_there
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        fresh = [
            attrs.evolve(change, was=0)
            if change.kind == "run" and change.was is None and not change.remove
            else change
            for change in changes
        ]
        super().apply(fresh, fence)


class RemovesOnce(Good):
    """What is gone cannot be removed.

    test_a_removal_that_says_nothing_of_the_version_may_be_told_again
    """

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        for change in changes:
            if change.remove and getattr(change.record, "id", "") not in self._records[change.kind]:
                raise StoreConflict("there is nothing to remove")
        super().apply(changes, fence)


BROKEN = [
    kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, Good) and kind is not Good
]


def failures(kind: type[Good]) -> dict[str, str]:
    """Give the tests of the contract that a store fails, each with how."""
    failed: dict[str, str] = {}
    contract = type("ByHand", (StoreContract,), {"store": None, "away": None, "another": None})
    for name, test in every_test(StoreContract).items():
        for given in parameters(test):
            store = kind()
            fixtures = {
                "store": store,
                "away": lambda store=store: setattr(store, "away", True),
                "another": store.again,
                **given,
            }
            wanted = [each for each in inspect.signature(test).parameters if each != "self"]
            try:
                getattr(contract(), name)(**{each: fixtures[each] for each in wanted})
            except (Exception, pytest.fail.Exception) as error:
                failed.setdefault(name, f"{type(error).__name__}: {error}")
    return failed


def test_a_store_without_a_fault_fails_nothing() -> None:
    assert {} == failures(Good)


@pytest.mark.parametrize("kind", BROKEN, ids=lambda kind: kind.__name__)
def test_a_broken_store_fails_the_tests_that_it_names_and_no_others(kind: type[Good]) -> None:
    failed = failures(kind)
    assert named_in(kind) == set(failed), failed


def test_every_test_of_the_contract_refuses_some_store() -> None:
    refused = {name for kind in BROKEN for name in named_in(kind)}
    assert set(every_test(StoreContract)) == refused
