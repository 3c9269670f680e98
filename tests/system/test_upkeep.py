"""gc, backup and restore of a real server: nothing that anybody needs is lost."""

from __future__ import annotations

import os
import shutil
import tarfile
import threading
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.support.leftovers import nothing_is_left
from tests.support.postgres import Postgres
from tests.support.server import LiveServer, live_server
from tests.support.shiny_client import Session, Visitor
from tests.system.conftest import BAD, EXAMPLES

pytestmark = pytest.mark.system
CALLER = 61903
KEEP = "[Applications]\nBundleRetentionLimit = 2\n[Housekeeping]\nInterval = 0s\n"


@pytest.fixture(scope="module", params=["root", "rootless"])
def server(everything: None, request: pytest.FixtureRequest) -> Iterator[LiveServer]:
    uid = 0 if request.param == "root" else CALLER
    with live_server(uid=uid, extra=KEEP) as running:
        yield running


@asynccontextmanager
async def visit(visitor: Visitor, search: str = "", n: int = 1) -> AsyncIterator[Session]:
    await visitor.get(search, accept="*/*")
    inputs = {".clientdata_url_search": search, "n": n, "save:shiny.action": 0}
    with trio.fail_after(60):
        async with visitor.session(["url", "restored"], inputs) as session:
            await session.value("url")
            yield session


async def text(session: Session, output: str) -> str:
    while not (found := await session.value(output)):
        pass
    return str(found)


class Load(threading.Thread):
    """Deploys and lists, again and again, until it is told to end."""

    def __init__(self, server: LiveServer) -> None:
        super().__init__()
        self.server = server
        self.over = threading.Event()
        self.rounds = 0

    def run(self) -> None:
        while not self.over.is_set():
            self.server.supervisor("deploy", str(EXAMPLES / "shiny-python-core"), "--name", "busy")
            self.rounds += 1

    def __enter__(self) -> Load:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self.join()


def restore(server: LiveServer, file: Path, *options: str) -> tuple[int, str]:
    """Run `supervisor restore` as who starts the server; give its exit status and what it said."""
    done = server.supervisor("restore", str(file), "--config", str(server.config), check=False)
    return done.returncode, done.stderr


async def test_what_was_backed_up_under_load_is_there_after_all_was_lost(
    server: LiveServer,
) -> None:
    file = server.base / "backup.tar"

    def deploy() -> str:
        return server.url + server.deploy(BAD / "python-bookmarks", "bookmarks")

    def lose_everything() -> None:
        with Load(server) as load:
            server.until(lambda: load.rounds > 0, 60)
            told = server.json("backup", str(file))
        assert load.rounds > 1
        assert {"1": "bookmarks", "2": "busy"} == told["contents"]
        server.stop()
        shutil.rmtree(server.data_dir)
        status, said = restore(server, file)
        assert 0 == status, said
        assert "Restored 2 contents" in said
        server.start()

    url = await trio.to_thread.run_sync(deploy)
    visitor = Visitor(url)
    async with visit(visitor, n=7) as session:
        await session.update(**{"save:shiny.action": 1})
        saved = await text(session, "url")
    await trio.to_thread.run_sync(lose_everything)

    async with visit(Visitor(url), saved) as session:
        assert "7, 49, a note about 7" == await text(session, "restored")
    owners = {path.stat().st_uid for path in server.data_dir.glob("state/*/shiny_bookmarks/*")}
    assert owners == ({CALLER} if server.uid else {300001})
    assert 0o600 == file.stat().st_mode & 0o777


def test_a_backup_of_one_database_is_restored_into_another(
    needs: Any, postgres: Postgres, postgres_url: str
) -> None:
    """Records are the same whatever keeps them: SQLite, Postgres, and an empty Postgres again."""
    needs.root()
    needs.python("shiny")
    provided = '[Database]\nProvider = postgres\n[Postgres]\nURL = "{}"\n'
    with live_server() as server:
        path = server.deploy(EXAMPLES / "shiny-python-core", "moves")
        plain = server.config.read_text()
        before = server.row("list", name="moves")
        for number, url in enumerate([postgres_url, postgres.new_database()]):
            file = server.base / f"{number}.tar"
            server.supervisor("backup", str(file))
            server.stop()
            shutil.rmtree(server.data_dir)
            server.config.write_text(plain + provided.format(url))
            status, said = restore(server, file)
            assert 0 == status, said
            assert [("moves",)] == postgres.execute("SELECT name FROM contents", url)
            server.start()
            after = server.row("list", name="moves")
            assert (before["guid"], before["bundle_id"]) == (after["guid"], after["bundle_id"])
            with urllib.request.urlopen(server.url + path, timeout=60) as page:
                assert 200 == page.status
            server.supervisor("restart", "moves")  # records can be changed there too


def test_ids_go_on_after_a_restore(server: LiveServer) -> None:
    server.deploy(EXAMPLES / "shiny-python-core", "third")
    assert ["1", "2", "3"] == sorted(row["id"] for row in server.json("list"))
    if not server.uid:
        nothing_is_left(server)


def test_a_directory_that_holds_something_is_not_filled(server: LiveServer) -> None:
    file = server.base / "another.tar"
    server.supervisor("backup", str(file))
    again = server.supervisor("backup", str(file), check=False)
    assert 64 == again.returncode
    assert "exists already" in again.stderr

    status, said = restore(server, file)

    assert 73 == status
    assert f"Server.DataDir = {server.data_dir} is not empty" in said
    assert server.json("list")


def test_a_backup_that_broke_off_is_refused(server: LiveServer, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    file, cut = server.base / "whole.tar", server.base / "cut.tar"
    server.supervisor("backup", str(file))
    with tarfile.open(file) as archive:
        end = archive.getmember("end.json").offset
    cut.write_bytes(file.read_bytes()[:end])
    cut.chmod(0o644)

    status, said = restore(server, cut)

    assert 64 == status
    assert "no complete backup" in said


def test_gc_keeps_what_a_rollback_needs_and_removes_the_rest(server: LiveServer) -> None:
    for number in range(4):
        folder = server.base / f"version-{number}"
        shutil.copytree(EXAMPLES / "shiny-python-core", folder)
        (folder / "version.txt").write_text(f"{number}")
        server.deploy(folder, "kept")
    # a version is needed for as long as a process of it is ending
    server.until(lambda: len(server.json("ps", "kept")) <= 1, 20, "older versions have ended")
    before = {path.name for path in (server.data_dir / "bundles").iterdir()}
    stale = server.data_dir / "uploads" / "0123456789abcdef"
    stale.write_bytes(bytes(10_000))
    os.utime(stale, (0, 0))

    would = server.json("gc", "--dry-run")
    after_dry = {path.name for path in (server.data_dir / "bundles").iterdir()}
    shown = server.supervisor("gc", "--dry-run").stdout
    went = server.json("gc")

    assert before == after_dry
    assert would == went
    kinds = [each["kind"] for each in went]
    assert "upload" in kinds
    assert 2 == len(
        [
            1
            for e in went
            if e["kind"] == "bundle"
            and "more than 2" in e["reason"]
            and e["content"] == int(server.row("list", name="kept")["id"])
        ]
    )
    assert "more than 2 bundles that were served" in shown
    assert not stale.exists()
    assert [] == server.json("gc")
    if not server.uid:
        nothing_is_left(server)
