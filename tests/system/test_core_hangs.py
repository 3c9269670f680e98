"""A plugin holds the core's loop: the core is replaced, the plugin named, sessions live."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.support.server import LiveServer, live_server
from tests.support.sessions import open_sessions
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system

# An executor's coroutine runs on the loop itself: blocking there is what no thread can save.
BLOCKER = """
import os, time
from pathlib import Path
from supervisor import Capabilities, Executor, Lifetime, hookimpl

TRIGGER = Path("{base}/trigger")
Path("{base}/euid").write_text(str(os.geteuid()))

class Blocker(Executor):
    name = "blocker"
    capabilities = Capabilities(lifetime=Lifetime.CORE, purposes=frozenset())

    async def start(self, job): raise NotImplementedError
    def watch(self, receipt): raise NotImplementedError
    async def stop(self, receipt, grace): pass
    async def list(self): return ()
    async def check(self):
        if TRIGGER.exists():
            TRIGGER.unlink()
            hold_the_loop()
        return ()

def hold_the_loop():
    while True:
        time.sleep(60)

@hookimpl
def supervisor_executors(context):
    return [Blocker()]
"""


@pytest.fixture
def blocked(everything: None) -> Iterator[tuple[LiveServer, Path]]:
    base = Path(os.path.realpath("/var/tmp")) / f"csv-blocker-{os.getpid()}"
    base.mkdir()
    base.chmod(0o777)
    try:
        with live_server(
            plugins={"blocker": BLOCKER.format(base=base)}, extra="[Server]\nBeatTimeout = 3s\n"
        ) as server:
            yield server, base
    finally:
        for path in base.iterdir():
            path.unlink()
        base.rmdir()


async def test_a_plugin_that_blocks_the_loop_is_blamed_and_no_session_closes(
    blocked: tuple[LiveServer, Path],
) -> None:
    server, base = blocked
    path = server.deploy(EXAMPLES / "shiny-python-core", "python-core")
    async with open_sessions([(server.url + path, "total")] * 3) as sessions:
        old, before = server.core, server.rows("ps")
        (base / "trigger").touch()
        (base / "trigger").chmod(0o666)
        await trio.to_thread.run_sync(lambda: server.supervisor("doctor", check=False, timeout=60))
        await trio.to_thread.run_sync(
            server.until, lambda: server.core not in (None, old), 20.0, "a new core"
        )
        for one in sessions:
            assert one.session.is_open
            await one.answers(11)
        await trio.to_thread.run_sync(
            server.until, lambda: bool(server.supervisor("ps", check=False).stdout), 20.0
        )
        after = server.rows("ps")
        assert [row["pid"] for row in after] == [row["pid"] for row in before]
    shown = {view["name"]: view["problem"] for view in server.json("plugins")}
    assert "held the core's loop" in shown["blocker"]
    assert all(not problem for name, problem in shown.items() if name != "blocker")
    assert "plugin=blocker" in server.log()


def test_no_code_of_a_plugin_runs_as_root(blocked: tuple[LiveServer, Path]) -> None:
    server, base = blocked
    assert server.core is not None
    assert int((base / "euid").read_text()) == os.stat(f"/proc/{server.core}").st_uid != 0
