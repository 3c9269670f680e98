"""Two builds against each other: a newer wheel over the running server, and back, sessions open."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
import trio

import supervisor
from supervisor import packets
from tests.support.builds import build, change, environment, install
from tests.support.server import (
    WAITING,
    LiveServer,
    gone,
    kill,
    name_of,
    server_directory,
)
from tests.support.sessions import OUTPUTS, Open, open_sessions

pytestmark = pytest.mark.system

EXAMPLES = Path(__file__).parents[2] / "examples"
OLD, NEW = supervisor.__version__, "99.0"
UNSHARE = "plugins/executor-unshare/supervisor_unshare"
STORE = "plugins/store-sql/supervisor_sql"
NEWER = {
    "pyproject.toml": (f'version = "{OLD}"', f'version = "{NEW}"'),
    "supervisor/__init__.py": (f'__version__ = "{OLD}"', f'__version__ = "{NEW}"'),
    "supervisor/packets.py": (f"VERSION = {packets.VERSION} ", f"VERSION = {packets.VERSION + 1} "),
}
BROKEN = {
    "core": {"supervisor/core/scheduling/keeper.py": ("from __future__", "from from __future__")},
    "gateway": {"supervisor/gateway/link.py": ("from __future__", "import no_such_thing_at_all #")},
    "parent": {"supervisor/parent/watch.py": ("from __future__", "def (")},
    "helper": {f"{UNSHARE}/linux/loop.py": ("from __future__", "import no_such_thing_at_all #")},
    "store": {f"{STORE}/plugin.py": ("from __future__", "import no_such_thing_at_all #")},
    "state": {"supervisor/parent/handover.py": ("VERSION = 1", "VERSION = 2")},
}
SAID = {"state": "state of the running server", "store": "the plugin store-sql: "}


@pytest.fixture(scope="module")
def wheels(everything: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The wheels of this tree and of a newer one."""
    return {
        "old": build(tmp_path_factory.mktemp("old"), changes={}),
        "new": build(tmp_path_factory.mktemp("new"), changes=NEWER, plugins=False),
    }


@pytest.fixture(scope="module")
def server(wheels: dict[str, Path]) -> Iterator[LiveServer]:
    """A server of the old wheels in an environment of its own."""
    with server_directory() as base:
        running = LiveServer(base)
        running.python = environment(base / "venv")
        install(running.python, wheels["old"])
        try:
            yield running.start()
        finally:
            running.end()


@pytest.fixture(scope="module")
def apps(server: LiveServer) -> list[tuple[str, str]]:
    """URL and output of a Python and of an R app."""
    names = ("shiny-python-core", "shiny-r-hello")
    return [(server.url + server.deploy(EXAMPLES / name, name), OUTPUTS[name]) for name in names]


def gateways(server: LiveServer) -> list[int]:
    """The pids of all gateways, also of those that leave."""
    found = []
    for process in psutil.Process(server.parent).children():
        with suppress(psutil.Error):  # it has just ended
            if "supervisor.gateway" in process.cmdline():
                found.append(process.pid)
    return found


def family(server: LiveServer) -> set[int]:
    """Every process below the parent, but what the helper makes ahead when it has time."""
    below = psutil.Process(server.parent).children(recursive=True)
    return {process.pid for process in below if name_of(process) not in (*WAITING, "")}


def content(server: LiveServer) -> set[int]:
    return {process.pid for process in server.strangers()}


def reload(server: LiveServer) -> str:
    """Reload to its end; give what the log says of it."""
    before = len(server.log())
    server.supervisor("reload")
    server.until(lambda: " parent reloaded " in server.log()[before:], 60, "reloaded")
    return server.log()[before:]


def joined(server: LiveServer, pid: int, *, newer_than: int | None) -> bool:
    """Whether a gateway has joined the core that followed another."""
    end = f"child-ended child=core child_pid={newer_than} "
    return f"gateway-joined pid={pid}\n" in server.log().rpartition(end)[2]


async def all_answer(sessions: Sequence[Open], n: int) -> None:
    for session in sessions:
        assert await session.answers(n)


async def upgraded(
    server: LiveServer, sessions: Sequence[Open], apps: Sequence[tuple[str, str]], version: str
) -> None:
    """Reload, and hold what must be true afterwards."""
    parent, helper, core = server.parent, server.helper, server.core
    before, running = gateways(server), content(server)
    log = await trio.to_thread.run_sync(reload, server)

    assert f"parent resumed version={version} " in log
    assert re.search(rf"helper-ready .*version={version} runs=[2-9]", log)
    assert "parent reloaded problems=0" in log
    assert (parent, helper) == (server.parent, server.helper)
    assert core != server.core
    [new] = set(gateways(server)) - set(before)
    assert set(before) < set(gateways(server))  # it still carries the open sessions
    assert running == content(server)
    for pid in (*before, new):  # also the one of the other version speaks with the new core
        server.until(partial(joined, server, pid, newer_than=core), 10, f"gateway {pid} joins")
    assert "speaks version" not in log
    assert "gateway-version" not in log
    await all_answer(sessions, 11)
    async with open_sessions(apps) as others:
        await all_answer(others, 12)
    assert running == content(server)
    seats = sum(row["sessions"] for row in server.rows("ps"))
    assert len(sessions) <= seats


async def test_sessions_live_on_through_an_upgrade_and_a_way_back(
    server: LiveServer, wheels: dict[str, Path], apps: list[tuple[str, str]]
) -> None:
    async with open_sessions(apps * 3) as sessions:
        await trio.to_thread.run_sync(install, server.python, wheels["new"])
        await all_answer(sessions, 8)
        await upgraded(server, sessions, apps, NEW)
        async with open_sessions(apps) as later:
            await trio.to_thread.run_sync(install, server.python, wheels["old"])
            await upgraded(server, [*sessions, *later], apps, OLD)
            await all_answer([*sessions, *later], 13)
    server.until(lambda: len(gateways(server)) == 1, 30, "gateways that leave end with the last")


@pytest.mark.parametrize("part", BROKEN)
async def test_a_broken_build_is_refused_and_nothing_changes(
    server: LiveServer,
    wheels: dict[str, Path],
    apps: list[tuple[str, str]],
    tmp_path: Path,
    part: str,
) -> None:
    async with open_sessions(apps) as sessions:
        if part == "core":
            broken = partial(install, server.python, build(tmp_path, changes=BROKEN[part]))
        else:  # as a wheel would, but sooner
            broken = partial(change, server.python, BROKEN[part])
        before = family(server)
        broken()
        try:
            done = await trio.to_thread.run_sync(partial(server.supervisor, "reload", check=False))
        finally:
            install(server.python, wheels["old"])
        assert 78 == done.returncode, done.stderr
        assert SAID.get(part, "the new code does not start: ") in done.stderr
        after = family(server)
        assert before == after
        await all_answer(sessions, 14)


async def test_a_helper_that_cannot_take_over_stays_and_works_with_the_new_core(
    server: LiveServer, wheels: dict[str, Path], apps: list[tuple[str, str]], tmp_path: Path
) -> None:
    changes = {**NEWER, f"{UNSHARE}/helper/renew.py": ("VERSION = 1", "VERSION = 2")}
    async with open_sessions(apps) as sessions:
        helper, running = server.helper, content(server)
        install(server.python, build(tmp_path, changes=changes))
        log = await trio.to_thread.run_sync(reload, server)
        assert f"parent resumed version={NEW} " in log
        assert 'child=helper reason="the new helper does not start: the runs are in' in log
        assert "parent reloaded problems=1" in log
        assert (helper, running) == (server.helper, content(server))
        await all_answer(sessions, 16)
        server.supervisor(
            "restart", "--rolling", "shiny-python-core"
        )  # a start and a stop by the old helper
        async with open_sessions(apps) as others:
            await all_answer(others, 17)
        install(server.python, wheels["old"])
        log = await trio.to_thread.run_sync(reload, server)
        assert "parent reloaded problems=0" in log


@pytest.mark.parametrize("part", ["core", "gateway"])
async def test_after_a_reload_a_part_that_is_killed_comes_back_as_ever(
    server: LiveServer, apps: list[tuple[str, str]], part: str
) -> None:
    async with open_sessions(apps) as sessions:
        await trio.to_thread.run_sync(reload, server)
        running, old = content(server), set(gateways(server))
        victim = server.core if part == "core" else max(old)
        kill(victim)
        server.until(lambda: server.ping() == 200, 15)
        server.until(lambda: server.supervisor("list", check=False).returncode == 0, 30)
        assert running == content(server)
        await all_answer(sessions, 15)


def test_after_a_reload_all_content_ends_with_the_helper_and_everything_with_the_parent(
    server: LiveServer, apps: list[tuple[str, str]]
) -> None:
    def started_since(was: set[int]) -> bool:
        found = content(server)
        return bool(found) and not found & was

    def loaded() -> bool:
        async def load() -> None:
            async with open_sessions(apps):
                pass

        trio.run(load)
        return True

    assert loaded()
    reload(server)
    running = content(server)
    assert running
    kill(server.helper)
    server.until(lambda: not any(map(psutil.pid_exists, running)), 10)
    assert loaded()
    reload(server)
    everyone = family(server)
    kill(server.parent)
    assert server.process is not None
    server.process.wait(10)
    assert gone([*everyone], 10.0)
