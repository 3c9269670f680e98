"""Every page that visitors see, with sample values, and its pictures: `./dev pages DIR`.

No server runs: the real templates are filled in as gateway and core do it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from supervisor import Content
from supervisor.core.service import ContentView
from supervisor.gateway import answers, notice, verdicts
from supervisor.model import ContentId, Guid
from supervisor.pages.index import Index
from tests.support.browser import open_tab

if TYPE_CHECKING:
    from playwright.sync_api import Page

GUID = b"0f8fad5b-d9cb-469f-a165-70867728950e"
TITLE = "Quarterly sales"
LONG = "Sales_and_returns_of_all_regions_" + "x" * 60
WIDTHS = (360, 1280)
SCHEMES = ("light", "dark")
LINES = [
    "Loading required package: shiny",
    "Listening on a socket",
    "Error in library(dplyr) : there is no package called 'dplyr'",
    "Calls: runApp ... eval -> ..stacktraceon.. -> source -> withVisible -> eval -> library",
    "Execution halted",
]
VERDICTS: dict[str, dict[str, object]] = {
    "starting": {"as": "starting", "title": TITLE},
    "queued-next": {"as": "queued", "title": TITLE, "position": 1},
    "queued-one": {"as": "queued", "title": TITLE, "position": 2},
    "queued-many": {"as": "queued", "title": TITLE, "position": 12},
    "full": {"as": "full", "title": TITLE},
    "failed": {
        "as": "failed",
        "title": TITLE,
        "reason": "It ended by itself with status 1 before it answered.",
        "code": "start-failed",
        "lines": LINES,
        "retry": 16,
    },
    "failed-for-good": {
        "as": "failed",
        "title": LONG,
        "reason": "It failed five times in a row, and is not started again by itself.",
        "code": "gave-up",
        "lines": [],
    },
    "stopped": {"as": "stopped", "title": TITLE},
    "missing": {"as": "missing"},
    "unavailable": {
        "as": "unavailable",
        "reason": "The server is restarting a part of itself.",
    },
    "bad-gateway": verdicts.bad_gateway("its answer's head is over 64 KiB", "unavailable"),
}


def _view(number: int, name: str, title: str, state: str, sessions: int, line: int) -> ContentView:
    content = Content(id=ContentId(number), guid=Guid(f"guid-{number}"), name=name, title=title)
    return ContentView(content=content, state=state, sessions=sessions, waiting=line)


VIEWS = (
    _view(1, "sales", TITLE, "running", 60, 7),
    _view(2, "penguins", "Penguins of the Palmer archipelago", "running", 1, 0),
    _view(3, "forecast", "", "sleeping", 0, 0),
    _view(4, "plot", "A plot", "starting", 0, 2),
    _view(5, "returns", LONG, "failed", 0, 0),
    _view(6, "survey-2025", "Survey 2025", "stopped", 0, 0),
    _view(7, "new", "Not there yet", "empty", 0, 0),
)


def all_pages(templates: Mapping[str, str] | None = None) -> Iterator[tuple[str, str, str]]:
    """Yield name, HTML and Content-Security-Policy of each page.

    templates: an administrator's own, file name → text; ours are back after the last page.
    """
    answers.brand(templates or {})
    try:
        for name, message in VERDICTS.items():
            answer = verdicts.page(message, b"", GUID, b"waiting.visitor.1.mac")
            lines = dict(line.decode().split(": ", 1) for line in answer.headers)
            yield name, answer.body.decode(), lines["Content-Security-Policy"]
    finally:
        answers.brand({})
    index = Index(templates)
    policy = index.headers["content-security-policy"]
    yield "index", index.render(VIEWS), policy
    yield "index-empty", index.render(()), policy


def show(page: Page, html: str, policy: str) -> None:
    """Let a browser show a page under its policy, at an address of a server that is not there."""
    here = f"http://server.example/content/{GUID.decode()}/"
    headers = {"Content-Security-Policy": policy}
    page.unroute_all()
    page.route("**/*", lambda route: route.abort())
    page.route(
        here,
        lambda route: route.fulfill(
            body=html, content_type="text/html; charset=utf-8", headers=headers
        ),
    )
    page.goto(here)


def show_notice(page: Page) -> None:
    """Let a browser show an app's page whose session is about to end."""
    here = f"http://server.example/content/{GUID.decode()}/"
    asked = f"{here}__supervisor__/notice"
    text = f"<title>{TITLE}</title><h1>{TITLE}</h1><p>The app.</p>"
    page.unroute_all()
    page.route(
        here,
        lambda route: route.fulfill(
            body=f'{text}<script src="{asked}.js?run=01run" async></script>',
            content_type="text/html; charset=utf-8",
        ),
    )
    script, news = notice.script(), json.dumps({"draining": True, "ends": 238})
    page.route(f"{asked}.js?run=01run", lambda route: route.fulfill(body=script.body))
    page.route(f"{asked}/01run", lambda route: route.fulfill(body=news))
    page.goto(here)
    page.get_by_role("status").wait_for()


def main(folder: Path) -> None:
    """Make a picture of each page at each width, in light and dark, and of the notice in an app."""
    folder.mkdir(parents=True, exist_ok=True)
    with open_tab() as tab:
        for name, html, policy in all_pages():
            for width in WIDTHS:
                for scheme in SCHEMES:
                    tab.page.set_viewport_size({"width": width, "height": 640})
                    tab.page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                    show(tab.page, html, policy)
                    path = folder / f"{name}-{width}-{scheme}.png"
                    tab.page.screenshot(path=str(path), full_page=True)
                    print(path)
        for width in WIDTHS:
            tab.page.set_viewport_size({"width": width, "height": 640})
            show_notice(tab.page)
            path = folder / f"draining-{width}.png"
            tab.page.screenshot(path=str(path))
            print(path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: ./dev pages DIR")
    main(Path(sys.argv[1]))
