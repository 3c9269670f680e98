"""Waiting pages end to end: a place in line is shown, kept and taken; a failure tried again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import open_tab
from tests.support.server import LiveServer, live_server

pytestmark = pytest.mark.system
EXAMPLES = Path(__file__).parents[2] / "examples"
SECONDS = 30_000


@pytest.fixture(scope="module")
def server(needs: Any) -> Iterator[LiveServer]:
    """A server whose contents have one process with one seat."""
    needs.root()
    needs.python("shiny")
    needs.chromium()
    extra = "[Scheduler]\nMaxProcesses = 1\nMaxConnsPerProcess = 1\nDrainTimeout = 2m\n"
    with live_server(extra=extra) as running:
        yield running


@pytest.fixture(scope="module")
def app(server: LiveServer) -> str:
    """The address of an app with a single seat."""
    return server.url + server.deploy(EXAMPLES / "shiny-python-core", "one-seat")


def test_visitors_wait_in_line_see_their_place_and_enter_by_themselves(
    app: str, tmp_path: Path
) -> None:
    with open_tab() as tab:
        shots = Path(os.environ.get("SCREENSHOTS", tmp_path))
        browser = tab.page.context.browser
        assert browser
        first, second, third = (browser.new_context().new_page() for _ in range(3))
        first.goto(app)
        first.locator("#total", has_text="376").wait_for(timeout=SECONDS)
        second.goto(app)
        second.get_by_text("You are next.").wait_for(timeout=SECONDS)
        third.goto(app)
        third.get_by_text("One person is before you.").wait_for(timeout=SECONDS)
        third.screenshot(path=str(shots / "in-line.png"))
        first.close()
        second.locator("#total", has_text="376").wait_for(timeout=SECONDS)
        third.get_by_text("You are next.").wait_for(timeout=SECONDS)
        second.close()
        third.locator("#total", has_text="376").wait_for(timeout=SECONDS)


def test_without_scripts_a_visitor_keeps_the_place_and_enters(app: str) -> None:
    with open_tab() as tab:
        browser = tab.page.context.browser
        assert browser
        first = browser.new_context().new_page()
        second = browser.new_context(java_script_enabled=False).new_page()
        third = browser.new_context().new_page()
        first.goto(app)
        first.locator("#total", has_text="376").wait_for(timeout=SECONDS)
        second.goto(app)
        second.get_by_text("You are next.").wait_for(timeout=SECONDS)
        third.goto(app)
        third.get_by_text("One person is before you.").wait_for(timeout=SECONDS)
        for _ in range(2):
            with second.expect_navigation(timeout=SECONDS):
                pass
            assert second.get_by_text("You are next.").count()
        first.close()
        second.locator("#total").wait_for(timeout=SECONDS, state="attached")


def test_the_failed_page_tries_again(server: LiveServer, tmp_path: Path) -> None:
    folder = tmp_path / "moody"
    folder.mkdir()
    (folder / "app.py").write_text(
        "import os, pathlib\n"
        "from shiny import App, ui\n"
        "mood = pathlib.Path(os.environ['SUPERVISOR_STATE'], 'mood')\n"
        "if mood.exists() and mood.read_text(): raise SystemExit('not in the mood')\n"
        "mood.touch()\n"
        "app = App(ui.page_fluid(ui.h1('Well again')), None)\n"
    )
    app = server.url + server.deploy(folder, "moody")
    (mood,) = server.data_dir.glob("state/*/mood")
    mood.write_text("bad")
    (row,) = (row for row in server.json("ps") if row["content"]["name"] == "moody")
    server.supervisor("stop", row["id"])
    server.until(lambda: not server.rows("ps", id=row["id"]), 15, "it has ended")
    with open_tab() as tab:
        tab.page.goto(app)
        button = tab.page.get_by_role("button", name="Try again")
        button.wait_for(timeout=SECONDS)
        assert "not in the mood" in tab.page.get_by_role("region").inner_text()
        mood.write_text("")
        button.click()
        tab.page.get_by_text("Well again").wait_for(timeout=SECONDS)
    assert "retry-asked" in server.log()


def test_an_r_app_that_compresses_its_pages_carries_the_notice_too(
    server: LiveServer, needs: Any
) -> None:
    needs.r("shiny")
    app = server.url + server.deploy(EXAMPLES / "shiny-r-hello", "r-notice")
    with open_tab() as tab:
        tab.page.goto(app)
        tab.page.locator("#double", has_text="40").wait_for(timeout=SECONDS)
        script = tab.page.locator("script[src*='/__supervisor__/notice.js?run=']")
        assert 1 == script.count()
        assert [] == tab.errors


def version(folder: Path, word: str) -> Path:
    """Write an app that says which version it is."""
    folder.mkdir(exist_ok=True)
    (folder / "app.py").write_text(
        "from shiny import App, ui\n"
        f"app = App(ui.page_fluid(ui.h1('This is the {word} version')), None)\n"
    )
    return folder


def test_an_open_page_announces_its_end_after_a_redeployment(
    server: LiveServer, tmp_path: Path
) -> None:
    app = server.url + server.deploy(version(tmp_path / "app", "old"), "changing")
    with open_tab() as tab:
        page = tab.page
        page.goto(app)
        page.get_by_text("This is the old version").wait_for(timeout=SECONDS)
        page.wait_for_function("Shiny.shinyapp.isConnected()", timeout=SECONDS)
        server.deploy(version(tmp_path / "app", "new"), "changing")
        server.until(lambda: bool(server.rows("ps", state="draining")), 30, "one drains")
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        status = page.locator("supervisor-notice").get_by_role("status")
        status.get_by_text("This session ends in 2 minutes").wait_for(timeout=SECONDS)
        page.screenshot(path=str(Path(os.environ.get("SCREENSHOTS", tmp_path)) / "ends.png"))
        page.get_by_role("button", name="Reload now").click()
        page.get_by_text("This is the new version").wait_for(timeout=SECONDS)
        assert 0 == page.locator("supervisor-notice").count()
