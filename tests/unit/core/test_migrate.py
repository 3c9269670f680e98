"""All records into another store: everything or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from supervisor.core.migrate import copy
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change, Row
from supervisor.model import ContentId, Transition, new_run_id
from supervisor.testing.fakes import MemoryStore
from supervisor.testing.store import RECORDS, content, new


@pytest.fixture
def source() -> MemoryStore:
    store = MemoryStore()
    store.apply([new(kind, record) for kind, record in RECORDS])
    moved = Transition(run=new_run_id(), content=ContentId(7), was="a", now="b", event="e")
    store.apply([Change(kind="transition", record=moved)])
    for _ in range(7):
        store.next_id("content")
    return store


def refused(source: MemoryStore, target: MemoryStore) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        copy(source, target)
    return caught.value


def test_everything_is_copied_and_ids_go_on(source: MemoryStore) -> None:
    target = MemoryStore()
    copied = copy(source, target)
    assert list(source.dump()) == list(target.dump())
    assert 8 == target.next_id("content")
    kinds = {kind: 1 for kind, _ in RECORDS}
    assert {"counter": 1, "transition": 1, **kinds} == copied


def test_leases_are_not_copied(source: MemoryStore) -> None:
    held = source.claim("data-dir", "a core", 60.0)
    assert held is not None
    source.release(held)
    target = MemoryStore()
    copy(source, target)
    assert target.holder("data-dir") is None


def test_a_target_that_is_not_empty_is_refused_and_left_alone(source: MemoryStore) -> None:
    target = MemoryStore()
    target.apply([new("content", content(1))])
    before = list(target.dump())
    assert "conflict" == refused(source, target).code
    assert before == list(target.dump())


@pytest.mark.parametrize("whose", ["source", "target"])
def test_a_store_that_a_server_uses_is_refused(source: MemoryStore, whose: str) -> None:
    target = MemoryStore()
    {"source": source, "target": target}[whose].claim("data-dir", "a core", 60.0)
    assert "data-dir-held" == refused(source, target).code
    assert [] == list(target.dump())


def test_a_server_that_starts_in_the_middle_ends_the_copy(source: MemoryStore) -> None:
    class Started(MemoryStore):
        def load(self, rows: Iterable[Row]) -> None:
            source.claim("data-dir", "a core", 60.0)
            super().load(rows)

    target = Started()
    assert "data-dir-held" == refused(source, target).code
    assert [] == list(target.dump())


def test_a_store_that_gives_back_something_else_is_found_out(source: MemoryStore) -> None:
    class Rounding(MemoryStore):
        def dump(self) -> Iterator[Row]:
            yield from list(super().dump())[:-1]

    assert "not-copied" == refused(source, Rounding()).code
