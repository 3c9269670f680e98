"""The journal: intents are durable, facts coalesce and are not lost, the lease is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from supervisor.core import lease as leases
from supervisor.core.journal import Journal
from supervisor.errors import StoreConflict, StoreUnavailable, SupervisorError
from supervisor.interfaces import Change, Store
from supervisor.lifecycle import State
from supervisor.model import Content, ContentId, Guid, Purpose, Run, Transition, new_run_id
from supervisor.testing.fakes import AwayStore, MemoryStore, StuckStore

RUN = Run(id=new_run_id(), key="k", content=ContentId(1), purpose=Purpose.SERVE)


def content(number: int, version: int = 1) -> Content:
    return Content(
        id=ContentId(number), guid=Guid(f"guid-{number}"), name=f"name-{number}", version=version
    )


def new(number: int) -> Change:
    return Change(kind="content", record=content(number), was=0)


def run_is(state: State) -> Change:
    return Change(kind="run", record=attrs.evolve(RUN, state=state))


def moved(now: str, at: float = 1.0) -> Change:
    record = Transition(run=RUN.id, content=RUN.content, was="ready", now=now, event="e", at=at)
    return Change(kind="transition", record=record)


@asynccontextmanager
async def journal_of(store: Store, run_dir: Path) -> AsyncIterator[Journal]:
    lease = store.claim("data-dir", "node:1", 15.0) if not getattr(store, "away", False) else None
    journal = Journal(
        store,
        lease or leases.Lease(name="data-dir", owner="node:1", fence=1, expires=0.0),
        run_dir=run_dir,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        yield journal
        nursery.cancel_scope.cancel()


async def test_an_intent_is_in_the_store_when_it_returns(tmp_path: Path) -> None:
    store = MemoryStore()
    async with journal_of(store, tmp_path) as journal:
        await journal.intent(new(1))
        assert content(1) == store.get("content", 1)
