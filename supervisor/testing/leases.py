"""LeaseContract: what every store promises of leases and their fences. Part of StoreContract."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import attrs
import pytest

from supervisor.errors import LeaseLost
from supervisor.interfaces import Change, Store
from supervisor.model import Content, ContentId, new_guid


class LeaseContract:
    """The promises of Store.claim, claim_all, leases, holder, release, and of fences."""

    def test_a_free_lease_goes_to_who_claims_it(self, store: Store) -> None:
        assert store.holder("l") is None
        lease = store.claim("l", "me", 60.0)
        assert lease is not None
        assert ("l", "me") == (lease.name, lease.owner)
        assert lease == store.holder("l")

    def test_a_lease_that_is_held_is_not_given_to_another(self, store: Store) -> None:
        lease = store.claim("l", "me", 60.0)
        assert store.claim("l", "you", 60.0) is None
        assert lease == store.holder("l")

    def test_a_renewal_keeps_the_fence_and_moves_the_end(self, store: Store) -> None:
        first = store.claim("l", "me", 60.0)
        second = store.claim("l", "me", 120.0)
        assert first is not None
        assert second is not None
        assert first.fence == second.fence
        assert 55.0 < second.expires - first.expires < 65.0

    def test_an_expired_lease_goes_to_another_with_a_larger_fence(self, store: Store) -> None:
        first = store.claim("l", "me", 0.05)
        time.sleep(0.1)  # the database's own clock decides
        assert first == store.holder("l")
        second = store.claim("l", "you", 60.0)
        assert first is not None
        assert second is not None
        assert second.fence > first.fence

    def test_a_lease_given_back_is_free_at_once(self, store: Store) -> None:
        first = store.claim("l", "me", 60.0)
        assert first is not None
        store.release(first)
        store.release(first)
        assert store.holder("l") is None
        second = store.claim("l", "you", 60.0)
        assert second is not None
        assert second.fence > first.fence

    def test_a_lease_that_is_another_s_by_now_cannot_be_given_back(self, store: Store) -> None:
        first = store.claim("l", "me", 60.0)
        assert first is not None
        store.release(first)
        second = store.claim("l", "you", 60.0)
        store.release(first)
        assert second == store.holder("l")

    def test_leases_of_other_names_do_not_matter(self, store: Store) -> None:
        assert store.claim("l", "me", 60.0) is not None
        assert store.claim("m", "you", 60.0) is not None

    def test_a_write_with_the_newest_fence_is_taken(self, store: Store) -> None:
        lease = store.claim("l", "me", 60.0)
        store.claim("l", "me", 60.0)
        store.apply([_content(1)], lease)
        assert store.get("content", 1) is not None

    def test_a_write_with_a_stale_fence_is_refused_and_leaves_nothing(self, store: Store) -> None:
        stale = store.claim("l", "me", 60.0)
        assert stale is not None
        store.release(stale)
        store.claim("l", "you", 60.0)
        with pytest.raises(LeaseLost) as caught:
            store.apply([_content(1)], stale)
        assert ("lease-lost", "l") == (caught.value.code, caught.value.lease)
        assert store.get("content", 1) is None

    def test_of_two_threads_that_claim_a_lease_exactly_one_gets_it(self, store: Store) -> None:
        got: list[object] = []
        in_threads(4, lambda number: got.append(store.claim("l", f"owner-{number}", 60.0)))
        assert 3 == got.count(None)

    def test_several_leases_are_claimed_at_once_but_for_those_that_are_held(
        self, store: Store
    ) -> None:
        store.claim("b", "you", 60.0)
        claimed = store.claim_all(["a", "b", "c"], "me", 60.0)
        assert [("a", "me"), ("c", "me")] == [(lease.name, lease.owner) for lease in claimed]
        assert [] == list(store.claim_all([], "me", 60.0))

    def test_several_leases_are_renewed_with_their_fences(self, store: Store) -> None:
        names = [f"name-{number:04}" for number in range(1200)]
        first = store.claim_all(names, "me", 60.0)
        second = store.claim_all(names, "me", 120.0)
        assert [lease.fence for lease in first] == [lease.fence for lease in second]
        assert names == [lease.name for lease in second]

    def test_several_leases_are_given_back_but_for_those_of_others(self, store: Store) -> None:
        mine = store.claim_all(["a", "b"], "me", 60.0)
        store.release(mine[1])
        theirs = store.claim("b", "you", 60.0)
        store.release_all(mine)
        store.release_all([])
        assert [theirs] == list(store.leases()[1])

    def test_leases_are_told_with_the_clock_that_they_end_by(self, store: Store) -> None:
        late = store.claim("late", "me", 0.05)
        gone = store.claim("gone", "me", 60.0)
        held = store.claim("held", "me", 60.0)
        assert gone is not None
        store.release(gone)
        time.sleep(0.1)  # the database's own clock decides
        now, leases = store.leases()
        assert [held, late] == list(leases)
        assert [True, False] == [lease.expires > now for lease in leases]

    def test_a_change_under_a_stale_fence_is_refused_with_all_others(self, store: Store) -> None:
        server = store.claim("server", "me", 60.0)
        mine, lost = store.claim_all(["mine", "lost"], "me", 60.0)
        store.release(lost)
        store.claim("lost", "you", 60.0)
        first = attrs.evolve(_content(1), fence=mine)
        second = attrs.evolve(_content(2), fence=lost)
        with pytest.raises(LeaseLost) as caught:
            store.apply([first, second], server)
        assert "lost" == caught.value.lease
        assert [] == list(store.find("content"))
        store.apply([first], server)
        assert 1 == len(store.find("content"))

    def test_of_two_threads_that_claim_many_leases_each_goes_to_one(self, store: Store) -> None:
        names = [f"name-{number}" for number in range(20)]
        got: list[str] = []

        def claim(number: int) -> None:
            ordered = names if number % 2 else names[::-1]
            got.extend(lease.name for lease in store.claim_all(ordered, f"owner-{number}", 60.0))

        in_threads(4, claim)
        assert sorted(names) == sorted(got)


def _content(number: int) -> Change:
    record = Content(id=ContentId(number), guid=new_guid(), name=f"name-{number}")
    return Change(kind="content", record=record, was=0)


def in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run work(0), work(1), … at the same time; raises the first error of any."""
    errors: list[BaseException] = []
    begin = threading.Barrier(count)

    def one(number: int) -> None:
        begin.wait(30)
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
