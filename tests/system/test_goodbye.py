"""A process that is asked to end lets its app finish: callbacks of sessions and of the process."""

from __future__ import annotations

import pytest
import trio

from tests.support.server import LiveServer, live_server
from tests.support.sessions import open_sessions
from tests.system.conftest import BAD

pytestmark = pytest.mark.system

APPS = ("r-says-goodbye", "python-says-goodbye")
GOODBYE = ["session", "process"]


@pytest.mark.parametrize("app", APPS)
async def test_a_stop_runs_the_callbacks_of_the_app(server: LiveServer, app: str) -> None:
    url = server.url + await trio.to_thread.run_sync(server.deploy, BAD / app, app)
    async with open_sessions([(url, "value")]):
        await trio.to_thread.run_sync(server.supervisor, "stop", app)
        await trio.to_thread.run_sync(server.until, lambda: not server.strangers(), 10.0)
    assert GOODBYE == said(server)
    server.supervisor("remove", app, "--yes")


@pytest.mark.parametrize("app", APPS)
async def test_the_end_of_the_server_runs_the_callbacks_of_its_apps(
    everything: None, app: str
) -> None:
    with live_server() as server:
        url = server.url + await trio.to_thread.run_sync(server.deploy, BAD / app, app)
        async with open_sessions([(url, "value")]):
            await trio.to_thread.run_sync(server.stop)
        assert GOODBYE == said(server)


def said(server: LiveServer) -> list[str]:
    """What the one content of a server has written."""
    (path,) = server.data_dir.glob("state/*/said")
    return path.read_text().split()
