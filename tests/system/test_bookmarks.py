"""Bookmarks that Shiny saves on the server outlive deployments and are shared by processes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.support.browser import open_tab
from tests.support.server import LiveServer, live_server
from tests.support.shiny_client import Session, Visitor
from tests.system.conftest import BAD

pytestmark = pytest.mark.system
CALLER = 61903
TWO_PROCESSES = "[Scheduler]\nMinProcesses = 2\nMaxProcesses = 3\n"
APPS = ("r-bookmarks", "python-bookmarks")


@pytest.fixture(scope="module", params=["root", "rootless"])
def server(everything: None, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    """A server, as root and not, that keeps two processes of each content."""
    uid = 0 if request.param == "root" else CALLER
    with live_server(uid=uid, extra=TWO_PROCESSES) as running:
        yield running


@asynccontextmanager
async def visit(visitor: Visitor, search: str = "", n: int = 1) -> AsyncIterator[Session]:
    """Open the app as a browser does: the page first, then a session with the same query."""
    page = await visitor.get(search, accept="*/*")
    assert 200 == page.status
    inputs = {".clientdata_url_search": search, "n": n, "save:shiny.action": 0}
    with trio.fail_after(60):
        async with visitor.session(["url", "restored"], inputs) as session:
            await session.value("url")
            yield session


async def text(session: Session, output: str) -> str:
    """Give the next value of an output that is not empty."""
    while not (found := await session.value(output)):
        pass
    return str(found)


def ready(server: LiveServer, app: str) -> set[int]:
    """Give the pids of an app's processes that serve."""
    rows = server.rows("ps", state="ready")
    return {row["pid"] for row in rows if row["content"]["name"] == app}


def pid(server: LiveServer, visitor: Visitor) -> int:
    """Give the pid, on the host, of the process that serves a visitor."""
    run = visitor.cookies["supervisor-pin"].value.partition(".")[0]
    return int(server.row("ps", id=run)["pid"])


@pytest.mark.parametrize("app", APPS)
async def test_two_sessions_bookmark_and_another_process_restores_them_after_a_redeployment(
    server: LiveServer, app: str
) -> None:
    before = ready(server, app)

    def deploy() -> str:
        path = server.deploy(BAD / app, app)
        server.until(lambda: len(ready(server, app) - before) == 2, 60.0)
        return path

    url = server.url + await trio.to_thread.run_sync(deploy)
    one, two = Visitor(url), Visitor(url)
    async with visit(one, n=7) as first, visit(two, n=9) as second:
        saved = []
        for session in (first, second):
            await session.update(**{"save:shiny.action": 1})
            saved.append(await text(session, "url"))
        savers = [pid(server, one), pid(server, two)]
        assert savers[0] != savers[1]
        async with visit(two, saved[0]) as other, visit(one, saved[1]) as another:
            assert "7, 49, a note about 7" == await text(other, "restored")
            assert "9, 81, a note about 9" == await text(another, "restored")
            assert savers == [pid(server, one), pid(server, two)]

    before |= set(savers)
    await trio.to_thread.run_sync(deploy)
    for search, n in zip(saved, (7, 9), strict=True):
        late = Visitor(url)
        async with visit(late, search) as session:
            assert f"{n}, {n * n}, a note about {n}" == await text(session, "restored")
            assert pid(server, late) not in savers
        page = await late.get(search, accept="*/*")
        assert f'value="{n}"'.encode() in page.body


@pytest.mark.parametrize("app", APPS)
async def test_a_bookmark_keeps_an_uploaded_file(
    server: LiveServer, app: str, tmp_path: Path
) -> None:
    def look() -> None:
        address = server.url + server.deploy(BAD / app, app)
        (tmp_path / "data.txt").write_text("what was uploaded")
        with open_tab() as tab:
            tab.page.goto(address)
            tab.page.set_input_files("#file", tmp_path / "data.txt")
            tab.wait_for_text("#uploaded", "what was uploaded")
            tab.page.fill("#n", "12")
            tab.page.click("#save")
            tab.page.wait_for_function("document.querySelector('#url').innerText !== ''")
            search = tab.page.inner_text("#url")
        server.deploy(BAD / app, app)
        with open_tab() as tab:
            tab.page.goto(address + search)
            tab.wait_for_text("#uploaded", "what was uploaded")
            tab.wait_for_text("#restored", "12, 144, a note about 12")
            assert "12" == tab.page.input_value("#n")

    await trio.to_thread.run_sync(look)


def test_bookmarks_belong_to_the_contents_user_and_are_removed_with_their_content(
    server: LiveServer,
) -> None:
    bookmarks = list(server.data_dir.glob("state/*/shiny_bookmarks/*"))
    owners = {path.stat().st_uid for path in bookmarks}
    assert owners == ({CALLER} if server.uid else {300001, 300002})
    for app in APPS:
        server.supervisor("remove", app, "--yes")
    server.until(lambda: not list(server.data_dir.glob("state/*")), 10.0)
