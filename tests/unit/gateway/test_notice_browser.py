"""The notice of a bounded end as a visitor sees it: a real gateway, a real browser, a fake core."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.browser import Tab, open_tab

pytestmark = pytest.mark.system
# Styles that spoil whatever they reach, and a policy as strict as an app may have it.
APP = b"""<!doctype html><title>App</title><link rel=stylesheet href=app.css><h1>The app</h1>"""
STYLE = b"* { color: lime !important; font-size: 50px !important; } div { display: none; }"
POLICY = b"Content-Security-Policy: default-src 'self'"
NOTICE = "supervisor-notice"
HALF_A_MINUTE = 30_000


class App:
    """A worker's program; asked: the targets of the requests that reached it."""

    def __init__(self, wire: Any) -> None:
        self.asked: list[str] = []
        self._wire = wire

    def __call__(self, sock: socket.socket) -> None:
        for head, _ in self._wire.requests(sock):
            target = head.split()[1].decode()
            self.asked.append(target)
            kind, body = (b"text/css", STYLE) if target.endswith(".css") else (b"text/html", APP)
            lines = [b"HTTP/1.1 200 OK", b"Content-Type: " + kind, POLICY]
            lines.append(b"Content-Length: %d" % len(body))
            sock.sendall(b"\r\n".join(lines) + b"\r\n\r\n" + body)


class Visit:
    """One visitor's tab on an app whose fate the test decides."""

    def __init__(self, world: Any, wire: Any, tab: Tab) -> None:
        self.world, self.tab, self.app = world, tab, App(wire)
        self.worker = world.worker(self.app, add=False)
        self.tell(state="live", ends=None)
        world.core.decide = lambda message: {"as": "worker", "run": "01run"}
        tab.page.clock.install()
        tab.page.goto(f"http://127.0.0.1:{world.gateway.port}{world.root}")

    def tell(self, *, state: str, ends: float | None, notice: bool = True) -> None:
        """Let the core say how the run stands."""
        self.world.core.facts["01run"] = {"notice": notice, "ends": ends}
        self.world.core.add(self.worker, state=state)

    def half_a_minute_later(self) -> None:
        """Let the page ask again, and take the answer."""
        with self.tab.page.expect_response("**/__supervisor__/notice/01run"):
            self.tab.page.clock.run_for(HALF_A_MINUTE)

    @property
    def notice(self) -> Any:
        return self.tab.page.locator(NOTICE)

    def status(self) -> str:
        """Give what the notice says, once it is there."""
        said = self.tab.page.get_by_role("status")
        said.wait_for(timeout=10_000)
        return str(said.inner_text())


@pytest.fixture
def visit(needs: Any, world: Any, wire: Any) -> Iterator[Visit]:
    """A visitor who has opened the app before anything happened to it."""
    needs.chromium()
    with open_tab(width=360, height=640) as tab:
        yield Visit(world, wire, tab)


def test_the_last_five_minutes_are_announced_and_only_those(visit: Visit, tmp_path: Path) -> None:
    visit.half_a_minute_later()
    visit.tell(state="draining", ends=None)
    visit.half_a_minute_later()
    visit.tell(state="draining", ends=302)
    visit.half_a_minute_later()
    assert 0 == visit.notice.count()
    visit.tell(state="draining", ends=238)
    visit.half_a_minute_later()
    assert (
        "This app was updated. This session ends in 4 minutes;"
        " reload to go on with the new version."
    ) == visit.status()
    visit.tab.screenshot(Path(os.environ.get("SCREENSHOTS", tmp_path)) / "notice.png")
    visit.tell(state="draining", ends=40)
    visit.half_a_minute_later()
    assert "ends in less than a minute;" in visit.status()
    assert 1 == visit.notice.count()


def test_what_notices_ask_never_reaches_the_app(visit: Visit) -> None:
    visit.half_a_minute_later()
    assert {"/", "/app.css"} == set(visit.app.asked)
    assert [] == visit.tab.errors


def test_styles_of_the_app_do_not_reach_the_notice(visit: Visit) -> None:
    visit.tell(state="draining", ends=100)
    visit.half_a_minute_later()
    visit.status()
    style = "element => [getComputedStyle(element).color, getComputedStyle(element).fontSize]"
    said = visit.tab.page.get_by_role("status")
    assert ["rgb(255, 255, 255)", "16px"] == said.evaluate(style)
    assert visit.notice.locator("div").bounding_box()["height"] < 200
    assert visit.tab.page.evaluate("document.documentElement.scrollWidth") <= 360


def test_a_notice_that_was_dismissed_stays_away(visit: Visit) -> None:
    visit.tell(state="draining", ends=200)
    visit.half_a_minute_later()
    visit.tab.page.get_by_role("button", name="Dismiss").click()
    assert 0 == visit.notice.count()
    asked: list[str] = []
    visit.tab.page.on("request", lambda request: asked.append(request.url))
    visit.tab.page.clock.run_for(4 * HALF_A_MINUTE)
    assert (0, []) == (visit.notice.count(), asked)


def test_a_reload_goes_on_with_the_new_version(visit: Visit) -> None:
    visit.tell(state="draining", ends=200)
    new = App(visit.app._wire)
    worker = visit.world.worker(new, run="02run", add=False)
    visit.world.core.facts["02run"] = {"notice": True, "ends": None}
    visit.world.core.add(worker)
    visit.world.core.decide = lambda message: {"as": "worker", "run": "02run"}
    visit.half_a_minute_later()
    visit.status()
    with visit.tab.page.expect_response("**/__supervisor__/notice/02run"):
        visit.tab.page.get_by_role("button", name="Reload now").click()
    assert "/" in new.asked
    assert 0 == visit.notice.count()


def test_a_run_that_is_gone_is_not_asked_about_again(visit: Visit) -> None:
    visit.tell(state="draining", ends=200)
    visit.half_a_minute_later()
    visit.status()
    visit.world.core.gone("01run")
    visit.half_a_minute_later()
    visit.notice.wait_for(state="detached")
    asked: list[str] = []
    visit.tab.page.on("request", lambda request: asked.append(request.url))
    visit.tab.page.clock.run_for(4 * HALF_A_MINUTE)
    assert [] == asked
