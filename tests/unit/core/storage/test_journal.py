"""The journal: intents are durable, facts coalesce and are not lost, the lease is kept."""

from __future__ import annotations

import random
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from supervisor.core.storage import lease as leases
from supervisor.core.storage.journal import Journal
from supervisor.errors import StoreConflict, StoreUnavailable, SupervisorError
from supervisor.interfaces import Change
from supervisor.lifecycle import State
from supervisor.model import (
    Content,
    ContentId,
    Guid,
    Lease,
    Purpose,
    Run,
    Transition,
    new_run_id,
)
from supervisor.testing.fakes import AwayStore, MemoryStore, StuckStore

RUN = Run(id=new_run_id(), key="k", content=ContentId(1), purpose=Purpose.SERVE)


def content(number: int, **fields: Any) -> Content:
    made = Content(id=ContentId(number), guid=Guid(f"guid-{number}"), name=f"name-{number}")
    return attrs.evolve(made, **fields)


def new(number: int) -> Change:
    return Change(kind="content", record=content(number), was=0)


def run_is(state: State, run: Run = RUN) -> Change:
    return Change(kind="run", record=attrs.evolve(run, state=state))


def moved(now: str, at: float = 1.0) -> Change:
    record = Transition(run=RUN.id, content=RUN.content, was="ready", now=now, event="e", at=at)
    return Change(kind="transition", record=record)


def state_in(store: MemoryStore) -> State | None:
    run = store.get("run", RUN.id)
    return run.state if isinstance(run, Run) else None


def spilled(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("spill-*.jsonl"))


def lease_of(store: MemoryStore) -> Lease:
    lease = MemoryStore.claim(store, leases.NAME, "node:1", leases.TTL)
    assert lease is not None
    return lease


@asynccontextmanager
async def journal_of(
    store: MemoryStore, run_dir: Path, told: Callable[[Sequence[Change]], None] = lambda _: None
) -> AsyncIterator[Journal]:
    if isinstance(store, AwayStore) and store.away:
        lease = Lease(name=leases.NAME, owner="node:1", fence=1, expires=0.0)
    else:
        lease = lease_of(store)
    journal = Journal(store, lease, run_dir=run_dir, told=told)
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


async def until(
    condition: Callable[[], bool], clock: MockClock | None = None, step: float = 1.0
) -> None:
    """Wait for what a thread does; the mock clock, where given, goes on by steps meanwhile."""
    for _ in range(2000):
        if condition():
            return
        if clock is not None:
            clock.jump(step)
        await trio.to_thread.run_sync(threading.Event().wait, 0.002)
    raise AssertionError("it never came")


async def attempt(journal: Journal, change: Change, outcome: list[object]) -> None:
    try:
        await journal.intent(change)
    except SupervisorError as error:
        outcome.append(type(error))
    else:
        outcome.append(None)


# Intents


async def test_an_intent_is_in_the_store_when_it_returns(tmp_path: Path) -> None:
    store = MemoryStore()
    async with journal_of(store, tmp_path) as journal:
        await journal.intent(new(1))
        assert content(1) == store.get("content", 1)


async def test_intents_that_wait_are_written_in_one_transaction(tmp_path: Path) -> None:
    store = StuckStore()
    outcomes: list[object] = []
    async with journal_of(store, tmp_path) as journal, trio.open_nursery() as nursery:
        nursery.start_soon(attempt, journal, new(1), outcomes)
        await until(store.entered.is_set)
        for number in range(2, 12):
            nursery.start_soon(attempt, journal, new(number), outcomes)
            await wait_all_tasks_blocked()
        store.go.set()
    assert [1, 10] == [len(batch) for batch in store.batches]
    assert list(range(2, 12)) == [change.record.id for change in store.batches[1]]  # type: ignore[union-attr]
    assert [None] * 11 == outcomes


async def test_a_conflict_fails_only_its_own_caller(tmp_path: Path) -> None:
    store = StuckStore()
    outcomes: dict[int, list[object]] = {number: [] for number in range(1, 5)}
    store.go.set()
    store.apply([new(3)])
    store.go.clear()
    store.entered.clear()
    async with journal_of(store, tmp_path) as journal, trio.open_nursery() as nursery:
        nursery.start_soon(attempt, journal, new(1), outcomes[1])
        await until(store.entered.is_set)
        for number in (2, 3, 4):
            nursery.start_soon(attempt, journal, new(number), outcomes[number])
        await wait_all_tasks_blocked()
        store.go.set()
    assert {1: [None], 2: [None], 3: [StoreConflict], 4: [None]} == outcomes
    assert {1, 2, 3, 4} == {record.id for record in store.find("content")}


async def test_an_intent_of_several_changes_is_all_or_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    async with journal_of(store, tmp_path) as journal:
        await journal.intent(new(2))
        with pytest.raises(StoreConflict):
            await journal.intent(new(1), new(2))
        assert store.get("content", 1) is None


async def test_an_intent_fails_at_once_while_the_store_is_away(tmp_path: Path) -> None:
    store = AwayStore()
    async with journal_of(store, tmp_path) as journal:
        with pytest.raises(StoreUnavailable):
            await journal.intent(new(1))
        store.away = False
    assert store.get("content", 1) is None


async def test_an_intent_that_was_cancelled_in_the_queue_is_not_written(tmp_path: Path) -> None:
    store = StuckStore()
    async with journal_of(store, tmp_path) as journal:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attempt, journal, new(1), [])
            await until(store.entered.is_set)
            nursery.start_soon(attempt, journal, new(2), [])
            await wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        store.go.set()
        assert await journal.flush(60.0)
    assert [1] == [record.id for record in store.find("content")]


async def test_the_loop_goes_on_while_the_store_is_slow(tmp_path: Path) -> None:
    store = StuckStore()
    async with journal_of(store, tmp_path) as journal:
        journal.fact(moved("exited"))
        await until(store.entered.is_set)
        for _ in range(100):
            await trio.lowlevel.checkpoint()
        assert [] == store.batches
        store.go.set()
        assert await journal.flush(60.0)


# Facts


async def test_of_the_facts_about_one_record_the_newest_is_written(tmp_path: Path) -> None:
    store = StuckStore()
    async with journal_of(store, tmp_path) as journal:
        journal.fact(moved("queued"))
        await until(store.entered.is_set)
        for state in (State.STARTING, State.PROBING, State.READY):
            journal.fact(run_is(state), moved(state.value))
        store.go.set()
        assert await journal.flush(60.0)
    assert State.READY is state_in(store)
    assert [4] == [len(batch) for batch in store.batches[1:]]  # one run, three transitions
    assert 4 == len(store.transitions)


async def test_a_fact_does_not_overtake_an_intent_about_the_same_record(tmp_path: Path) -> None:
    store = StuckStore()
    outcomes: list[object] = []
    async with journal_of(store, tmp_path) as journal, trio.open_nursery() as nursery:
        journal.fact(moved("queued"))
        await until(store.entered.is_set)
        journal.fact(Change(kind="content", record=content(1, version=1)))
        intent = Change(kind="content", record=content(1, version=2), was=1)
        nursery.start_soon(attempt, journal, intent, outcomes)
        await wait_all_tasks_blocked()
        journal.fact(Change(kind="content", record=content(1, version=3)))
        store.go.set()
    assert [None] == outcomes
    assert content(1, version=3) == store.get("content", 1)


async def test_facts_are_written_when_the_store_comes_back(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    store = AwayStore()
    async with journal_of(store, tmp_path) as journal:
        journal.fact(run_is(State.READY))
        await until(lambda: store.refused > 0)
        store.away = False
        lease_of(store)
        await until(lambda: state_in(store) is State.READY, mock_clock)


async def test_the_store_is_asked_less_often_the_longer_it_is_away(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    store = AwayStore()
    async with journal_of(store, tmp_path) as journal:
        journal.fact(run_is(State.READY))
        await until(lambda: store.refused == 1)
        for _ in range(600):
            mock_clock.jump(0.1)
            await wait_all_tasks_blocked()
            await trio.to_thread.run_sync(threading.Event().wait, 0.001)
        # a minute: at most 12 renewals and 6 attempts of 0.1 to 3.2 s, then one each 2.5 to 5 s
        assert 20 <= store.refused <= 12 + 8 + 24


async def test_what_cannot_be_written_is_not_tried_for_ever(tmp_path: Path) -> None:
    store = MemoryStore()
    async with journal_of(store, tmp_path) as journal:
        await journal.intent(new(1))
        twin = content(2, name="name-1")
        journal.fact(Change(kind="content", record=twin), run_is(State.READY))
        assert await journal.flush(60.0)
    assert State.READY is state_in(store)
    assert store.get("content", 2) is None


async def test_who_listens_is_told_what_is_durable(tmp_path: Path) -> None:
    store = MemoryStore()
    told: list[Change] = []
    async with journal_of(store, tmp_path, told.extend) as journal:
        journal.fact(moved("ready"))
        assert await journal.flush(60.0)
        with pytest.raises(StoreConflict):
            await journal.intent(Change(kind="content", record=content(1), was=5))
    assert [moved("ready")] == told


async def test_a_listener_that_raises_stops_nothing(tmp_path: Path) -> None:
    def raise_(_: object) -> None:
        raise RuntimeError("a defect")

    async with journal_of(MemoryStore(), tmp_path, raise_) as journal:
        await journal.intent(new(1))
        await journal.intent(new(2))


# Spilling


async def test_the_end_of_a_run_survives_the_core_while_the_store_is_away(tmp_path: Path) -> None:
    store = AwayStore()
    other = attrs.evolve(RUN, id=new_run_id())
    async with journal_of(store, tmp_path) as journal:
        journal.fact(run_is(State.READY), run_is(State.FAILED), moved("failed"))
        journal.fact(run_is(State.READY, other))
        await until(lambda: bool(spilled(tmp_path)))
    store.away = False
    async with journal_of(store, tmp_path) as journal:
        assert await journal.flush(60.0)
    assert State.FAILED is state_in(store)
    assert [moved("failed").record] == store.transitions
    assert store.get("run", other.id) is None
    assert [] == spilled(tmp_path)


async def test_the_spilled_is_written_before_what_came_later(tmp_path: Path) -> None:
    away = AwayStore()
    async with journal_of(away, tmp_path) as journal:
        journal.fact(moved("stopping", 1.0))
        await until(lambda: bool(spilled(tmp_path)))
    store = MemoryStore()
    async with journal_of(store, tmp_path) as journal:
        journal.fact(moved("exited", 2.0))
        assert await journal.flush(60.0)
    assert ["stopping", "exited"] == [transition.now for transition in store.transitions]


async def test_the_same_core_writes_what_it_spilled_and_tells_of_it(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    store = AwayStore()
    told: list[Change] = []
    async with journal_of(store, tmp_path, told.extend) as journal:
        journal.fact(run_is(State.LOST), moved("lost"))
        await until(lambda: bool(spilled(tmp_path)))
        store.away = False
        lease_of(store)
        assert await journal.flush(60.0)
        assert State.LOST is state_in(store)
        assert [run_is(State.LOST), moved("lost")] == told
        assert [] == spilled(tmp_path)


async def test_a_torn_line_of_the_spill_costs_only_itself(tmp_path: Path) -> None:
    away = AwayStore()
    async with journal_of(away, tmp_path) as journal:
        journal.fact(run_is(State.LOST), moved("lost"))
    (path,) = spilled(tmp_path)
    path.write_bytes(path.read_bytes()[:-20])
    store = MemoryStore()
    async with journal_of(store, tmp_path) as journal:
        assert await journal.flush(60.0)
    assert State.LOST is state_in(store)
    assert [] == store.transitions


async def test_an_end_that_is_told_after_the_journal_has_ended_is_spilled(tmp_path: Path) -> None:
    async with journal_of(MemoryStore(), tmp_path) as journal:
        pass
    journal.fact(run_is(State.EXITED))
    assert 1 == len(spilled(tmp_path))


async def test_the_spill_is_closed_to_others(tmp_path: Path) -> None:
    async with journal_of(AwayStore(), tmp_path) as journal:
        journal.fact(run_is(State.EXITED))
    (path,) = spilled(tmp_path)
    assert 0o600 == path.stat().st_mode & 0o777


class FlakyStore(AwayStore):
    """A store that goes and comes back at random, and now and then refuses several at once."""

    def __init__(self, seed: int) -> None:
        super().__init__(away=False)
        self.random = random.Random(seed)

    def apply(self, changes: Sequence[Change], fence: Lease | None = None) -> None:
        self.away = self.random.random() < 0.4
        if len(changes) > 1 and self.random.random() < 0.1:
            raise StoreConflict("one of them is at fault")
        super().apply(changes, fence)


@pytest.mark.parametrize("seed", range(20))
async def test_whatever_the_store_does_no_end_is_lost_and_nothing_goes_backwards(
    tmp_path: Path, mock_clock: MockClock, seed: int
) -> None:
    store = FlakyStore(seed)
    runs = [attrs.evolve(RUN, id=new_run_id()) for _ in range(5)]
    states = [State.STARTING, State.PROBING, State.READY, State.STOPPING, State.EXITED]
    outcomes: list[object] = []
    for core in range(3):  # each is cut off; the next one goes on
        async with journal_of(store, tmp_path) as journal, trio.open_nursery() as nursery:
            for index, state in enumerate(states):
                for number, run in enumerate(runs):
                    if number % 3 == core:
                        journal.fact(run_is(state, run), moved(f"{number}-{state}", index))
                nursery.start_soon(attempt, journal, new(core * 10 + index + 1), outcomes)
                for _ in range(store.random.randrange(4)):
                    mock_clock.jump(store.random.random())
                    await until(lambda: True)
            nursery.cancel_scope.cancel()
    store.random = NeverFlaky()
    async with journal_of(store, tmp_path) as journal:
        await until(lambda: not spilled(tmp_path), mock_clock)
    assert {State.EXITED} == {record.state for record in store.find("run")}
    told = [transition.now for transition in store.transitions]
    for number in range(5):
        expected = [f"{number}-{state}" for state in states]
        assert expected == [now for now in told if now.startswith(f"{number}-")]


class NeverFlaky(random.Random):
    """Dice that always show the best side."""

    def random(self) -> float:
        return 1.0


# Flushing and ending


async def test_a_flush_says_when_it_was_not_enough(tmp_path: Path, mock_clock: MockClock) -> None:
    store = AwayStore()
    async with journal_of(store, tmp_path) as journal, trio.open_nursery() as nursery:
        answers: list[bool] = []

        async def flush() -> None:
            answers.append(await journal.flush(1.0))

        journal.fact(run_is(State.READY))
        nursery.start_soon(flush)
        await until(lambda: bool(answers), mock_clock, 0.1)
        assert [False] == answers


async def test_an_intent_that_waits_when_the_journal_ends_is_refused(tmp_path: Path) -> None:
    journal = Journal(MemoryStore(), lease_of(MemoryStore()), run_dir=tmp_path)
    with trio.CancelScope() as scope:
        scope.cancel()
        await journal.run()
    with pytest.raises(StoreUnavailable):
        await journal.intent(new(1))


# The lease


async def test_the_lease_is_renewed_each_five_seconds(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    store = MemoryStore(clock=lambda: now)
    now = 1000.0
    async with journal_of(store, tmp_path) as journal:
        for _ in range(10):
            await wait_all_tasks_blocked()
            now += 5.0
            mock_clock.jump(5.0)
            expected = now + leases.TTL
            await until(lambda expected=expected: journal.lease.expires == expected)  # type: ignore[misc]
        assert store.claim(leases.NAME, "another:1", 15.0) is None


async def test_a_lease_that_another_took_ends_the_journal(
    tmp_path: Path, mock_clock: MockClock
) -> None:
    store = MemoryStore()
    journal = Journal(store, lease_of(store), run_dir=tmp_path)
    caught: list[SupervisorError] = []

    async def run() -> None:
        try:
            await journal.run()
        except SupervisorError as error:
            caught.append(error)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await wait_all_tasks_blocked()
        store.release(journal.lease)
        store.claim(leases.NAME, "another:1", 15.0)
        await until(lambda: bool(caught), mock_clock)
    assert "lease-lost" == caught[0].code


async def test_a_write_under_a_stale_fence_ends_the_journal_and_spills_the_ends(
    tmp_path: Path,
) -> None:
    store = MemoryStore()
    journal = Journal(store, lease_of(store), run_dir=tmp_path)
    store.release(journal.lease)
    store.claim(leases.NAME, "another:1", 15.0)
    journal.fact(run_is(State.EXITED))
    with pytest.raises(SupervisorError) as caught:
        await journal.run()
    assert "lease-lost" == caught.value.code
    with pytest.raises(SupervisorError) as again:
        await journal.intent(new(1))
    assert "lease-lost" == again.value.code
    assert 1 == len(spilled(tmp_path))
    assert state_in(store) is None
