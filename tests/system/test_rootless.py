"""Without root: one uid, user namespaces, the same apps, and the tier is named."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
import trio

from tests.support.server import LiveServer, gone, kill, live_server
from tests.support.sessions import open_sessions
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system
CALLER = 61900


@pytest.fixture(scope="module")
def rootless(everything: None) -> Iterator[LiveServer]:
    """A server of an ordinary user (who needs no account)."""
    with live_server(uid=CALLER) as running:
        yield running


async def test_both_apps_serve_and_survive_the_core_without_root(rootless: LiveServer) -> None:
    paths = [
        await trio.to_thread.run_sync(rootless.deploy, EXAMPLES / folder, folder)
        for folder in ("shiny-r-hello", "shiny-python-core")
    ]
    wanted = list(zip([rootless.url + path for path in paths], ("double", "total"), strict=True))
    async with open_sessions(wanted) as sessions:
        before = {row["id"]: row["pid"] for row in rootless.json("ps")}
        old = rootless.core
        kill(old)
        await trio.to_thread.run_sync(
            rootless.until, lambda: rootless.supervisor("ps", check=False).returncode == 0, 10.0
        )
        assert {row["id"]: row["pid"] for row in rootless.json("ps")} == before
        for one in sessions:
            assert one.session.is_open
            await one.answers(12)


def test_the_tier_is_named_in_the_first_lines_and_by_doctor(rootless: LiveServer) -> None:
    assert "tier rootless" in rootless.log().splitlines()[0]
    doctor = rootless.supervisor("doctor", check=False)
    assert "rootless" in doctor.stdout


def test_nothing_runs_as_root_and_nothing_is_left_when_the_parent_is_killed(
    rootless: LiveServer,
) -> None:
    tree = [psutil.Process(rootless.parent), *psutil.Process(rootless.parent).children(True)]
    assert {CALLER} == rootless.owners()
    kill(rootless.parent)
    assert gone([process.pid for process in tree], 1.0)
