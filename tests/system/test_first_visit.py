"""The first visit to a sleeping app, in a real browser."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.browser import open_tab
from tests.support.server import LiveServer

pytestmark = pytest.mark.system


def _put_to_sleep(server: LiveServer) -> None:
    for row in server.json("ps"):
        server.supervisor("stop", row["id"])
    server.until(lambda: not server.json("ps"), 15, "no process")


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where screenshots go: a folder to look at, or one that is thrown away."""
    return Path(os.environ.get("SCREENSHOTS", tmp_path))


def test_the_starting_page_comes_at_once_and_becomes_the_r_app_by_itself(
    server: LiveServer, r_app: str, shots: Path
) -> None:
    _put_to_sleep(server)
    with open_tab() as tab:
        begun = time.monotonic()
        answer = tab.page.goto(server.url + r_app, wait_until="commit")
        assert answer is not None
        assert answer.status == 503
        assert int(answer.headers["retry-after"]) >= 1
        assert tab.page.locator("h1").inner_text().startswith("Starting")
        waited = time.monotonic() - begun
        tab.screenshot(shots / "starting.png")
        tab.page.locator("#double", has_text="40").wait_for(timeout=30_000)
        tab.page.wait_for_selector("#plot img", timeout=30_000)
        assert waited < time.monotonic() - begun
        before = tab.page.get_attribute("#plot img", "src")
        tab.move_slider("n", 33)
        tab.wait_for_text("#double", "66")
        tab.page.wait_for_function(
            "before => document.querySelector('#plot img').src !== before", arg=before
        )
        tab.screenshot(shots / "r-app.png")
        assert tab.errors == []
    (row,) = server.json("ps")
    assert (row["content"]["name"], row["state"]) == ("r-hello", "ready")


def test_the_python_app_answers_a_browser(server: LiveServer, python_app: str, shots: Path) -> None:
    with open_tab() as tab:
        tab.page.goto(server.url + python_app)
        tab.page.locator("#total", has_text="376").wait_for(timeout=30_000)
        tab.screenshot(shots / "python-app.png")
        assert tab.errors == []


def test_the_starting_page_needs_no_script(server: LiveServer, r_app: str) -> None:
    _put_to_sleep(server)
    from playwright.sync_api import sync_playwright

    from tests.support.browser import FLAGS

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=list(FLAGS))
        page = browser.new_context(java_script_enabled=False).new_page()
        page.goto(server.url + r_app, wait_until="commit")
        assert page.locator("h1").inner_text().startswith("Starting")
        page.get_by_text("Old Faithful").first.wait_for(timeout=30_000)
        browser.close()


def test_the_index_lists_the_apps_at_360_pixels(
    server: LiveServer, r_app: str, python_app: str, shots: Path
) -> None:
    with open_tab(width=360, height=640) as tab:
        tab.page.goto(server.url + "/")
        links = tab.page.evaluate("[...document.links].map(link => link.pathname)")
        assert set(links) >= {r_app, python_app}
        width = tab.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360
        tab.screenshot(shots / "index-360.png")
