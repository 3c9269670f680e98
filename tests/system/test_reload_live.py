"""A real server replaces itself: as an ordinary user too, and no request is refused meanwhile."""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from threading import Event, Thread

import psutil
import pytest
import trio

from tests.support.server import LiveServer, gone, live_server
from tests.support.sessions import open_sessions
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system
CALLER = 61901


@pytest.fixture(scope="module")
def rootless(everything: None) -> Iterator[LiveServer]:
    """A server of an ordinary user."""
    with live_server(uid=CALLER) as running:
        yield running


def reload(server: LiveServer) -> None:
    before = len(server.log())
    server.supervisor("reload")
    server.until(lambda: " parent reloaded problems=0" in server.log()[before:], 60, "reloaded")


async def test_without_root_sessions_and_processes_live_on_as_well(rootless: LiveServer) -> None:
    path = await trio.to_thread.run_sync(
        rootless.deploy, EXAMPLES / "shiny-python-core", "python-core"
    )
    async with open_sessions([(rootless.url + path, "total")] * 3) as sessions:
        kept = rootless.parent, rootless.helper, rootless.json("ps")[0]["pid"]
        core = rootless.core
        for number in range(2):
            await trio.to_thread.run_sync(reload, rootless)
            for one in sessions:
                assert one.session.is_open
                await one.answers(20 + number)
        assert kept == (rootless.parent, rootless.helper, rootless.json("ps")[0]["pid"])
        assert core != rootless.core
    assert {CALLER} == rootless.owners()


def test_no_request_is_refused_while_the_server_replaces_itself(
    server: LiveServer, python_app: str
) -> None:
    answers: Counter[tuple[str, object]] = Counter()
    over = Event()

    def ask(path: str) -> None:
        while not over.is_set():
            try:
                with urllib.request.urlopen(server.url + path, timeout=30) as answer:
                    answers[path, answer.status] += 1
            except OSError as error:
                answers[path, str(error)] += 1
            time.sleep(0.02)

    def command() -> None:
        while not over.is_set():
            answers["list", server.supervisor("list", check=False).returncode] += 1

    threads = [Thread(target=ask, args=(path,)) for path in (python_app, "/", "/__ping__")]
    threads.append(Thread(target=command))
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            reload(server)
    finally:
        over.set()
        for thread in threads:
            thread.join()

    wanted = {(python_app, 200), ("/", 200), ("/__ping__", 200), ("list", 0)}
    assert wanted == set(answers), answers


def test_a_stop_right_after_a_reload_leaves_nothing(everything: None) -> None:
    with live_server() as one:
        one.deploy(EXAMPLES / "shiny-python-core", "python-core")
        everyone = psutil.Process(one.parent).children(recursive=True)
        one.supervisor("reload")
        everyone += psutil.Process(one.parent).children(recursive=True)
        assert 0 == one.stop(30)
        assert gone([process.pid for process in everyone], 5.0)
        assert not any(one.run_dir.glob("*.sock"))
