"""What an intent has acknowledged outlives a kill of the core, at whatever moment it comes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from supervisor.core.storage import lease as leases
from supervisor.errors import SupervisorError
from supervisor.interfaces import Store
from supervisor.plugins.hookspecs import Context
from supervisor.plugins.loading import Plugins

PROVIDERS = ["sqlite", "postgres"]

WRITER = """
import sys, trio
from supervisor.core.storage import lease
from supervisor.core.storage.journal import Journal
from supervisor.plugins.hookspecs import Context
from supervisor.plugins.loading import Plugins
from supervisor.testing.store import content, new

async def main(provider, data_dir, url):
    settings = {"postgres": {"url": [url]}}
    context = Context(data_dir=data_dir, run_dir=data_dir, settings=settings, rootless=True)
    plugins = Plugins()
    await plugins.load(context)
    store = plugins.stores[provider](context)
    store.migrate()
    held = lease.take(store, str(lease.Owner.here("n")), may_replace=lease.is_dead_core_of("n"))
    journal = Journal(store, held, run_dir=data_dir)

    async def write():
        while True:
            number = await journal.next_id("content")
            await journal.intent(new("content", content(number)))
            print(number, flush=True)

    async with trio.open_nursery() as nursery:
        await nursery.start(journal.run)
        for _ in range(20):
            nursery.start_soon(write)

trio.run(main, *sys.argv[1:])
"""


@pytest.fixture(params=PROVIDERS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str, str]:
    """A provider, a directory and, for a server, the URL of an empty database."""
    provider = request.param
    url = request.getfixturevalue("postgres_url") if provider == "postgres" else ""
    return provider, str(tmp_path), url


async def open_store(provider: str, data_dir: str, url: str) -> Store:
    settings = {"postgres": {"url": [url]}}
    context = Context(data_dir=data_dir, run_dir=data_dir, settings=settings, rootless=True)
    plugins = Plugins()
    await plugins.load(context)
    store = plugins.stores[provider](context)
    store.migrate()
    return store


def test_what_was_acknowledged_outlives_kills(where: tuple[str, str, str]) -> None:
    acknowledged: list[int] = []
    for lines in (1, 50, 200):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, *where],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            acknowledged += [int(process.stdout.readline()) for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    store = trio.run(open_store, *where)
    stored = {record.id for record in store.find("content")}
    assert len(acknowledged) == len(set(acknowledged))
    assert set() == set(acknowledged) - stored
    assert max(stored) < store.next_id("content")
    store.close()


def test_a_second_server_is_refused_while_the_first_lives(where: tuple[str, str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, *where], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        store = trio.run(open_store, *where)
        with pytest.raises(SupervisorError) as caught:
            leases.take(store, "m:1", may_replace=leases.is_dead_core_of("n"))
        assert "data-dir-held" == caught.value.code
        assert f"pid {process.pid} on " in caught.value.message
        process.kill()
        process.stdout.read()
    lease = leases.take(store, "m:1", may_replace=leases.is_dead_core_of("n"))
    assert "m:1" == lease.owner
    store.close()
