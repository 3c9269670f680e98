"""Content dies, or will not die."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio

from tests.support.leftovers import groups_of, pids_in
from tests.support.server import LiveServer, gone, kill, live_server
from tests.support.shiny_client import Visitor
from tests.system.conftest import BAD, EXAMPLES

pytestmark = pytest.mark.system


def _main_process(init: int) -> psutil.Process:
    """The content's own process: the oldest child of its init."""
    return min(psutil.Process(init).children(), key=lambda child: child.create_time())


async def test_a_killed_process_is_named_with_its_signal_and_the_next_visit_gets_a_new_run(
    server: LiveServer, r_app: str
) -> None:
    visitor = Visitor(server.url + r_app)
    assert (await visitor.get(accept="*/*")).status == 200
    (row,) = server.json("ps")
    content = _main_process(row["pid"])
    kill(content.pid)
    await trio.to_thread.run_sync(server.until, lambda: not server.json("ps"), 10.0)
    (ended,) = (r for r in server.json("ps", "--all") if r["id"] == row["id"])
    assert ended["state"] == "failed"
    assert ended["exit"]["signal"] == 9
    assert "signal 9" in ended["reason"]
    assert "signal 9" in server.log()
    with trio.fail_after(30):
        assert (await visitor.get(accept="*/*")).status == 200
    (new,) = server.json("ps")
    assert new["id"] != row["id"]
    assert new["state"] == "ready"


@pytest.mark.parametrize("language", ["r", "python"])
def test_content_that_ignores_sigterm_and_forks_away_leaves_nothing_after_stop(
    server: LiveServer, language: str
) -> None:
    name = f"{language}-stubborn"
    server.deploy(BAD / f"{language}-ignores-sigterm-and-forks", name)
    (row,) = (r for r in server.json("ps") if r["content"]["name"] == name)
    family = [p.pid for p in psutil.Process(row["pid"]).children(recursive=True)]
    assert len(family) >= 3, "it forks: setsid, nohup, double fork"
    begun = time.monotonic()
    server.supervisor("stop", name)
    server.until(lambda: not [r for r in server.json("ps") if r["id"] == row["id"]], 15)
    assert gone([row["pid"], *family], 1.0)
    assert time.monotonic() - begun < 15
    assert not (server.run_dir / "w" / row["id"]).exists()
    assert not (server.data_dir / "tmp" / row["id"]).exists()


@pytest.fixture
def fresh(everything: None) -> Iterator[LiveServer]:
    with live_server() as running:
        yield running


@pytest.mark.parametrize("victim", ["helper", "parent"])
def test_nothing_of_content_is_left_within_a_second_when_the_helper_or_the_parent_is_killed(
    fresh: LiveServer, victim: str
) -> None:
    fresh.deploy(EXAMPLES / "shiny-python-core", "python-core")
    fresh.deploy(BAD / "python-ignores-sigterm-and-forks", "stubborn")
    pids = [process.pid for process in fresh.strangers()]
    spaces = {os.readlink(f"/proc/{pid}/ns/pid") for pid in pids} - {
        os.readlink("/proc/self/ns/pid")
    }
    assert len(spaces) == 2
    groups = [group for group in groups_of(fresh) if pids_in(group) & set(pids)]
    assert len(groups) >= 2
    kill(fresh.helper if victim == "helper" else fresh.parent)
    assert gone(pids, 1.0)
    end = time.monotonic() + 1.0
    while any(group.exists() for group in groups) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(group.exists() for group in groups)
    # a namespace lives as long as a process in it, an open file or a mount of it
    held = {link for process in psutil.process_iter() for link in _open_files(process)}
    assert not held & spaces
    assert not any(space in Path("/proc/self/mountinfo").read_text() for space in spaces)
    if victim == "helper":
        fresh.until(lambda: fresh.supervisor("ps", check=False).returncode == 0, 10)
        assert fresh.json("ps") == []


def _open_files(process: psutil.Process) -> set[str]:
    folder = f"/proc/{process.pid}/fd"
    found = set()
    try:
        for name in os.listdir(folder):
            found.add(os.readlink(f"{folder}/{name}"))
    except OSError:
        pass
    return found


def test_a_second_server_on_the_same_data_directory_refuses_and_names_the_holder(
    fresh: LiveServer,
) -> None:
    second = LiveServer(fresh.base, port=fresh.port + 1)
    second.run_dir = fresh.base / "run2"
    second.config = fresh.base / "second.gcfg"
    second.config.write_text(second._configuration())
    second.log_path = fresh.base / "second.log"
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(20) != 0
    assert "data-dir-held" in second.log()
    assert str(fresh.parent) in second.log() or str(fresh.core) in second.log()
    assert fresh.supervisor("list").returncode == 0
