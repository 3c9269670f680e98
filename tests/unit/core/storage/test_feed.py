"""The feed: told in order, woken at once, and nothing missed while the store was away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from supervisor.core.storage.feed import Feed
from supervisor.core.storage.journal import Journal
from supervisor.interfaces import StoreEvent
from supervisor.listener import Listener
from supervisor.log import Log
from supervisor.model import Lease
from supervisor.testing.fakes import AwayStore, MemoryListener
from supervisor.testing.store import content, new

pytestmark = pytest.mark.usefixtures("quick")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supervisor.core.storage.feed.POLL", 0.02)
    monkeypatch.setattr("supervisor.core.storage.feed.GATHER", 0.001)


class Told:
    """What the feed has told, and a way to wait for it."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self._news = trio.Event()

    def __call__(self, events: Sequence[StoreEvent]) -> None:
        self.keys += [event.key for event in events]
        news, self._news = self._news, trio.Event()
        news.set()

    async def until(self, *keys: int) -> None:
        with trio.fail_after(5):
            while self.keys != [str(key) for key in keys]:
                await self._news.wait()


class Deaf(AwayStore):
    """A store that nobody can listen to."""

    def listen(self) -> MemoryListener:
        self.enter("listen")
        return None  # type: ignore[return-value]


@asynccontextmanager
async def fed(store: AwayStore, run_dir: Path) -> AsyncIterator[Told]:
    told = Told()
    lease = Lease(name="l", owner="me", fence=1, expires=0.0)
    feed = Feed(Journal(store, lease, run_dir=run_dir), told, log=Log("core", level="error"))
    async with trio.open_nursery() as nursery:
        await nursery.start(feed.run)
        yield told
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("kind", [AwayStore, Deaf])
async def test_what_is_written_after_the_start_is_told_once_and_in_order(
    kind: type[AwayStore], tmp_path: Path
) -> None:
    store = kind(away=False)
    store.apply([new("content", content(1))])
    async with fed(store, tmp_path) as told:
        store.apply([new("content", content(2)), new("content", content(3))])
        await told.until(2, 3)
        store.apply([new("content", content(4))])
        await told.until(2, 3, 4)


@pytest.mark.parametrize("kind", [AwayStore, Deaf])
async def test_what_was_written_while_the_store_was_away_is_told_afterwards(
    kind: type[AwayStore], tmp_path: Path
) -> None:
    store = kind(away=False)
    async with fed(store, tmp_path) as told:
        store.apply([new("content", content(1))])
        await told.until(1)
        store.away = True
        refused = store.refused
        for listener in store._listeners:
            listener.lost = True
            listener.wake()
        with trio.fail_after(5):
            while store.refused < refused + 2:  # noqa: ASYNC110
                await trio.sleep(0.005)
        store.away = False
        store.apply([new("content", content(2))])
        await told.until(1, 2)


async def test_a_store_that_wakes_is_not_asked_meanwhile(tmp_path: Path) -> None:
    asked = []

    class Asked(AwayStore):
        def enter(self, method: str) -> None:
            asked.append(method)

    store = Asked(away=False)
    async with fed(store, tmp_path) as told:
        store.apply([new("content", content(1))])
        await told.until(1)
        await trio.sleep(0.2)  # it may have been woken for what its first look told already
        before = len(asked)
        await trio.sleep(0.2)
        assert before == len(asked)


async def test_the_listener_is_closed_at_the_end(tmp_path: Path) -> None:
    store = AwayStore(away=False)
    async with fed(store, tmp_path) as told:
        store.apply([new("content", content(1))])
        await told.until(1)
    listeners: list[Listener] = [*store._listeners]
    assert [-1] == [listener.fileno() for listener in listeners]
