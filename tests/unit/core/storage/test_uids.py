"""Contents keep the uids that they were made with."""

from __future__ import annotations

import pytest

from supervisor.core.storage import uids
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change
from supervisor.testing.fakes import MemoryStore
from supervisor.testing.house import a_content


def store_with(*made: tuple[int, int]) -> MemoryStore:
    store = MemoryStore()
    store.apply([Change(kind="content", record=a_content(number, uid=uid)) for number, uid in made])
    return store


@pytest.mark.parametrize("made", [(), ((1, 66_001), (7, 66_007)), ((1, 0),)])
def test_a_range_in_which_all_contents_have_their_uids_is_fine(
    made: tuple[tuple[int, int], ...],
) -> None:
    uids.check(store_with(*made), first=66_000)


def test_contents_that_were_removed_hold_no_range() -> None:
    store = MemoryStore()
    gone = a_content(1, uid=200_001, removed=1.0)
    store.apply([Change(kind="content", record=gone)])
    uids.check(store, first=66_000)


def test_another_range_is_refused_with_the_line_to_write() -> None:
    with pytest.raises(SupervisorError) as refused:
        uids.check(store_with((1, 200_001), (7, 200_007)), first=66_000)
    assert "identity-invalid" == refused.value.code
    assert (
        "content 7 has the uid 200007, and its files are that user's; UidFirst = 66000 would make"
        " it 66007" == refused.value.message
    )
    assert refused.value.hint.startswith("Write UidFirst = 200000 in [Applications]")
