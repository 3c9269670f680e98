"""Every page that visitors see, in a real browser: readable, accessible, and on its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.browser import Tab, open_tab
from tests.support.pages import GUID, SCHEMES, VERDICTS, all_pages, show

pytestmark = pytest.mark.system
HERE = f"http://server.example/content/{GUID.decode()}/"
PAGES = {name: (html, policy) for name, html, policy in all_pages()}

# The contrast of each text that is visible, by the formula of WCAG 2.
CONTRASTS = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = color => color.slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const box = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !box.checkVisibility()) continue;
    let behind = box, back;
    do { back = rgb(getComputedStyle(behind).backgroundColor); behind = behind.parentElement; }
    while (back[3] === 0 && behind);
    const [a, b] = [light(rgb(getComputedStyle(box).color)), light(back)];
    found.push([(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), box.innerText]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def tab(needs: Any) -> Iterator[Tab]:
    """One browser for all tests of this file."""
    needs.chromium()
    with open_tab(width=360, height=640) as tab:
        yield tab


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_whole_fits_a_phone_and_loads_nothing(tab: Tab, name: str) -> None:
    page, complaints, asked = tab.page, [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("request", lambda request: asked.append(request.url))
    show(page, *PAGES[name])
    assert page.title()
    assert page.evaluate("document.documentElement.lang")
    assert 1 == page.get_by_role("main").count()
    assert 1 == page.get_by_role("heading", level=1).count()
    assert page.get_by_role("heading", level=1).inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    of_itself = (HERE, HERE.partition("/content/")[0] + "/__supervisor__/wait/")
    assert [] == [url for url in asked if not url.startswith(of_itself)]
    assert [] == [text for text in complaints if "Content Security Policy" in text]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_stands_out_from_its_ground(tab: Tab, scheme: Any) -> None:
    tab.page.emulate_media(color_scheme=scheme)
    for name, (html, policy) in PAGES.items():
        show(tab.page, html, policy)
        contrasts = tab.page.evaluate(CONTRASTS)
        assert contrasts
        assert [] == [(name, *found) for found in contrasts if found[0] < 4.5]


@pytest.mark.parametrize("name", [name for name in VERDICTS if name != "starting"])
def test_what_can_be_used_can_be_reached_by_keyboard_and_seen(tab: Tab, name: str) -> None:
    show(tab.page, *PAGES[name])
    for _ in range(tab.page.locator("a, button, pre:visible").count()):
        tab.page.keyboard.press("Tab")
        outline = "getComputedStyle(document.activeElement).outlineStyle"
        assert "BODY" != tab.page.evaluate("document.activeElement.tagName")
        assert "none" != tab.page.evaluate(outline)


def test_a_waiting_page_follows_the_line_and_turns_into_the_app(tab: Tab) -> None:
    page = tab.page
    news: dict[str, object] = {"state": "queued", "position": 4}
    asked = []

    def tell(route: Any) -> None:
        asked.append(route.request.url)
        if news:
            route.fulfill(body=json.dumps(news), content_type="application/json")
        else:
            route.fulfill(status=204)

    html, policy = PAGES["starting"]
    show(page, html, policy)
    page.route("**/__supervisor__/wait/**", tell)
    page.reload()
    tab.wait_for_text("[role=status]", "3 people are before you.")
    assert page.title().startswith("(4) ")
    assert "Quarterly sales is full right now" == page.locator("h1").inner_text()
    news["position"] = 2
    tab.wait_for_text("[role=status]", "One person is before you.")
    news["position"] = 1
    tab.wait_for_text("[role=status]", "You are next.")
    news["state"] = "starting"
    tab.wait_for_text("[role=status]", "It opens here as soon as it is ready.")
    assert "Starting Quarterly sales" == page.locator("h1").inner_text()
    page.route(
        HERE, lambda route: route.fulfill(body="<p id=app>app</p>", content_type="text/html")
    )
    news.clear()
    tab.wait_for_text("#app", "app")
    assert all(url.endswith(f"/wait/{GUID.decode()}?pin=waiting.visitor.1.mac") for url in asked)


def test_a_waiting_page_outlives_a_server_that_is_away(tab: Tab) -> None:
    show(tab.page, *PAGES["queued-next"])  # nobody answers it
    asks = tab.page.expect_request("**/__supervisor__/wait/**", timeout=10_000)
    with asks:
        pass
    assert "You are next." == tab.page.locator("[role=status]").inner_text()


def test_without_scripts_a_waiting_page_shows_the_place_and_loads_itself_again(tab: Tab) -> None:
    browser = tab.page.context.browser
    assert browser
    page = browser.new_page(java_script_enabled=False)
    show(page, *PAGES["queued-many"])
    assert "11 people are before you." == page.locator("[role=status]").inner_text()
    with page.expect_request(HERE, timeout=10_000):
        pass
    page.close()


def test_without_scripts_a_person_asks_for_another_try(tab: Tab) -> None:
    browser = tab.page.context.browser
    assert browser
    page = browser.new_page(java_script_enabled=False)
    show(page, *PAGES["failed"])
    sent = []

    def take(route: Any) -> None:
        sent.append((route.request.method, route.request.headers.get("origin")))
        route.fulfill(body="<h1>Taken</h1>", content_type="text/html")

    page.route(f"**/__supervisor__/retry/{GUID.decode()}", take)
    page.get_by_role("button", name="Try again").click()
    page.get_by_role("heading", name="Taken").wait_for()
    assert [("POST", "http://server.example")] == sent
    page.close()
