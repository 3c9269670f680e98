"""A tier that the host cannot give stops the start, with one message; nothing weaker takes over."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio

from tests.support.server import LiveServer, gone, kill, live_server
from tests.support.sessions import open_sessions
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system
CALLER = 61900
REFUSING = Path(__file__).parents[1] / "support" / "refusing.py"
RANGER = Path(__file__).parents[1] / "support" / "ranger.sh"
FIRST = 5_100_000  # of the caller's range of uids
TO_CALLER = ("setpriv", f"--reuid={CALLER}", f"--regid={CALLER}", "--clear-groups")
NO_ADMIN = ("setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin")


def refusing(*rules: str) -> tuple[str, ...]:
    """Run a command where these system calls are refused."""
    return (sys.executable, str(REFUSING), *rules, "--")


def reload(server: LiveServer) -> None:
    """Reload, and wait until all parts are new."""
    server.supervisor("reload")
    server.until(lambda: " parent reloaded problems=0" in server.log(), 60, "reloaded")


REFUSALS: list[tuple[str, int, Sequence[str], str, int, str]] = [
    ("", 0, NO_ADMIN, "sandbox-unavailable", 71, "--cap-add=SYS_ADMIN"),
    ("", 0, refusing("namespaces"), "sandbox-unavailable", 71, "seccomp=unconfined"),
    ("", CALLER, refusing("namespaces"), "sandbox-unavailable", 71, "Tier = landlock"),
    ("root", CALLER, (), "tier-unavailable", 78, "does not run as root"),
    ("landlock", 0, (), "tier-unavailable", 78, "--user 10001"),
    ("landlock", CALLER, refusing("landlock_create_ruleset"), "tier-unavailable", 78, "lsm="),
    ("bubble", CALLER, (), "settings-invalid", 78, "auto, root, subuid, rootless, landlock"),
]


@pytest.mark.parametrize(("tier", "uid", "within", "code", "status", "expected"), REFUSALS)
def test_a_host_that_does_not_give_the_tier_stops_the_start_with_what_to_change(
    needs: Any, tier: str, uid: int, within: Sequence[str], code: str, status: int, expected: str
) -> None:
    needs.root()
    extra = f"[Privileged]\nTier = {tier}\n" if tier else ""
    with live_server(uid=uid, extra=extra, start=False) as one:
        become = TO_CALLER if uid and within else ()
        process = one.start(wait=False, within=(*within, *become)).process
        assert process is not None
        assert status == process.wait(20), one.log()
        said = one.log()
        assert 1 == said.count(f"[{code}]"), said
        assert expected in said
        assert "Traceback" not in said
        assert len(said.splitlines()) <= 3
        assert not one.data_dir.exists()


@pytest.fixture(scope="module")
def restricted(everything: None) -> Iterator[LiveServer]:
    """A server where no namespace can be made, as in a container without any capability."""
    with live_server(uid=CALLER, extra="[Privileged]\nTier = landlock\n", start=False) as running:
        running.start(within=(*refusing("namespaces"), *TO_CALLER))
        yield running


async def test_both_apps_serve_where_no_namespace_can_be_made(restricted: LiveServer) -> None:
    paths = [
        await trio.to_thread.run_sync(restricted.deploy, EXAMPLES / folder, folder)
        for folder in ("shiny-r-hello", "shiny-python-core")
    ]
    wanted = list(zip([restricted.url + path for path in paths], ("double", "total"), strict=True))
    async with open_sessions(wanted) as sessions:
        for one in sessions:
            await one.answers(12)


def test_the_tier_has_one_name_wherever_it_is_told(restricted: LiveServer) -> None:
    assert f"tier landlock (uid {CALLER})" in restricted.log().splitlines()[0]
    found = {one["name"]: one for one in restricted.json("doctor")}
    assert found["tier"]["text"].startswith("landlock")
    assert "one tenant" in found["one tenant"]["text"]
    runs = restricted.json("ps")
    assert runs
    assert {"landlock"} == {run["tier"] for run in runs}


def test_a_reload_keeps_the_tier_and_what_runs(restricted: LiveServer) -> None:
    before = {run["id"]: run["pid"] for run in restricted.json("ps")}
    assert before
    reload(restricted)
    runs = restricted.json("ps")
    assert before == {run["id"]: run["pid"] for run in runs}
    assert {"landlock"} == {run["tier"] for run in runs}


def test_nothing_is_left_when_the_parent_is_killed(restricted: LiveServer) -> None:
    tree = [psutil.Process(restricted.parent), *psutil.Process(restricted.parent).children(True)]
    kill(restricted.parent)
    assert gone([process.pid for process in tree], 5.0)


def test_networks_that_the_tier_has_not_are_told_at_the_start_and_by_doctor(needs: Any) -> None:
    needs.root()
    extra = "[Privileged]\nTier = landlock\n[Network]\nMostEgress = USER\n"
    with live_server(uid=CALLER, extra=extra, start=False) as one:
        one.start()
        assert "NOTE        no content starts: MostEgress" in one.log().splitlines()[1]
        found = {line["name"]: line for line in one.json("doctor")}
        assert not found["egress unshare"]["ok"]
        assert found["egress unshare"]["text"].startswith("no content starts: MostEgress")


@pytest.fixture(scope="module")
def ranger(everything: None) -> Iterator[LiveServer]:
    """A server of an ordinary user who has a range of uids."""
    if shutil.which("newuidmap") is None:
        pytest.skip("not on this machine: newuidmap (Debian: uidmap)")
    with live_server(uid=CALLER, extra="[Privileged]\nTier = subuid\n", start=False) as running:
        running.start(within=("sh", str(RANGER), str(CALLER), str(FIRST)))
        yield running


async def test_both_apps_serve_with_uids_of_their_own_out_of_an_ordinary_users_range(
    ranger: LiveServer,
) -> None:
    paths = [
        await trio.to_thread.run_sync(ranger.deploy, EXAMPLES / folder, folder)
        for folder in ("shiny-r-hello", "shiny-python-core")
    ]
    wanted = list(zip([ranger.url + path for path in paths], ("double", "total"), strict=True))
    async with open_sessions(wanted) as sessions:
        for one in sessions:
            await one.answers(12)
        runs = ranger.json("ps")
        assert {"subuid"} == {run["tier"] for run in runs}
        uids = {psutil.Process(run["pid"]).uids().real for run in runs}
        assert len(uids) == len(paths)
        assert all(FIRST <= uid < FIRST + 65536 for uid in uids)


def test_a_reload_keeps_the_range_and_what_runs(ranger: LiveServer) -> None:
    before = {run["id"]: run["pid"] for run in ranger.json("ps")}
    assert before
    reload(ranger)
    assert before == {run["id"]: run["pid"] for run in ranger.json("ps")}
    assert {"subuid"} == {run["tier"] for run in ranger.json("ps")}


def test_content_that_is_removed_leaves_no_file_of_its_uid(ranger: LiveServer) -> None:
    for name in ("shiny-r-hello", "shiny-python-core"):
        ranger.supervisor("remove", name, "--yes")
    assert "tier subuid" in ranger.log().splitlines()[0]
    assert 0 == ranger.stop()
    left = [path for path in ranger.data_dir.rglob("*") if path.lstat().st_uid >= FIRST]
    assert [] == left
