"""Store events per second: the journal's group commit against one transaction for each event.

An event is what a move of a run writes: its record and a transition. In turn, for each database:
200 runs move at once and each waits until its move is durable; the same as facts that nobody waits
for; and one move after another. Both databases wait for the disk at each commit. `--rounds N`,
`--events N` (of each kind in a round; of the slow kind a twentieth).
"""

from __future__ import annotations

import argparse
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import support
import trio
from supervisor_sql.address import PostgresSettings
from supervisor_sql.postgres import Postgres
from supervisor_sql.sqlite import Sqlite
from supervisor_sql.store import SqlStore

from supervisor.core.storage import lease
from supervisor.core.storage.journal import Journal
from supervisor.interfaces import Change
from supervisor.model import ContentId, Purpose, Run, Transition, new_job_key, new_run_id
from tests.support.postgres import binaries, new_postgres

AT_ONCE = 200
SLOW = 20  # one by one is measured with so many times fewer events


def move(run: Run, number: int) -> tuple[Change, Change]:
    """Give the two changes of one move of a run."""
    moved = attrs.evolve(run, version=number)
    told = Transition(
        run=run.id, content=run.content, was="ready", now="draining", event="drain", at=number
    )
    return Change(kind="run", record=moved), Change(kind="transition", record=told)


def new_run() -> Run:
    """Make a run of its own."""
    return Run(id=new_run_id(), key=new_job_key(), content=ContentId(1), purpose=Purpose.SERVE)


async def at_once(journal: Journal, events: int) -> None:
    """Let many runs move, each as soon as its last move is durable."""

    async def one() -> None:
        run = new_run()
        for number in range(events // AT_ONCE):
            await journal.intent(*move(run, number))

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(one)


async def as_facts(journal: Journal, events: int) -> None:
    """Let as many runs move without waiting; return when all is durable."""
    for _ in range(events // AT_ONCE):
        for _ in range(AT_ONCE):
            journal.fact(*move(new_run(), 1))
        await trio.lowlevel.checkpoint()
    await journal.flush(120.0)


async def one_by_one(journal: Journal, events: int) -> None:
    """Let one run move after another, each durable before the next."""
    run = new_run()
    for number in range(events // SLOW):
        await journal.intent(*move(run, number))


KINDS: dict[str, tuple[Callable[[Journal, int], Awaitable[None]], int]] = {
    "at once": (at_once, 1),
    "facts": (as_facts, 1),
    "one by one": (one_by_one, SLOW),
}


@contextmanager
def stores(base: Path) -> Iterator[dict[str, SqlStore]]:
    """The same store on each database that is here."""
    opened = {f"SQLite {sqlite3.sqlite_version}": SqlStore(Sqlite(base / "db"))}
    if binaries() is None:
        support.note("without Postgres: it is not installed")
        yield opened
        return
    with new_postgres(durable=True) as server:
        opened["Postgres 15"] = SqlStore(Postgres(PostgresSettings(url=server.new_database())))
        yield opened
        for store in opened.values():
            store.close()


async def measure(store: SqlStore, base: Path, events: int) -> dict[str, float]:
    """Give the events a second of each kind."""
    held = lease.take(store, "bench")
    journal = Journal(store, held, run_dir=base)
    rates: dict[str, float] = {}
    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        for name, (work, fewer) in KINDS.items():
            begun = time.perf_counter()
            await work(journal, events)
            rates[name] = events / fewer / (time.perf_counter() - begun)
        nursery.cancel_scope.cancel()
    store.release(journal.lease)
    return rates


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=4000)
    given = parser.parse_args()
    support.machine()
    with support.directory() as base, stores(base) as opened:
        rates: dict[str, list[dict[str, float]]] = {name: [] for name in opened}
        for store in opened.values():
            store.migrate()
        for number in range(given.rounds):
            for name, store in opened.items():
                support.note(f"round {number + 1}: {name}")
                rates[name].append(trio.run(measure, store, base, given.events))
    rows = []
    for name, rounds in rates.items():
        slow = [each["one by one"] for each in rounds]
        ratios = [each["at once"] / each["one by one"] for each in rounds]
        fast = [support.spread([each[kind] for each in rounds], 0) for kind in ("at once", "facts")]
        rows.append((name, *fast, support.spread(slow, 0), support.spread(ratios)))
    head = ("database", f"{AT_ONCE} at once", "facts", "one by one", "at once / one by one")
    support.table([f"events a second: {head[0]}", *head[1:]], rows)


if __name__ == "__main__":
    main()
