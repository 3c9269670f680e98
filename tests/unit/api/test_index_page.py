"""The index page: pure HTML of the views."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from supervisor.core.service import ContentView
from supervisor.model import Content, ContentId, Guid
from supervisor.pages.index import Index


class Page(HTMLParser):
    """What a browser would find: links with their texts, all text, all tags."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.text = ""
        self.tags: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "a":
            self.links.append((dict(attrs)["href"] or "", ""))

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.links and self.links[-1][1] == "":
            self.links[-1] = (self.links[-1][0], data)


def view(
    title: str = "",
    state: str = "running",
    name: str = "hello",
    sessions: int = 0,
    waiting: int = 0,
) -> ContentView:
    content = Content(id=ContentId(1), guid=Guid("a-guid"), name=name, title=title)
    return ContentView(
        content=content, state=state, reason="secret detail", sessions=sessions, waiting=waiting
    )


def test_each_content_is_a_relative_link_with_its_title_and_state() -> None:
    page = Page(Index().render([view("Hello & welcome")]))
    assert [("content/a-guid/", "Hello & welcome")] == page.links
    assert "Running" in page.text
    assert "hello" in page.text


def test_without_a_title_the_name_is_the_link() -> None:
    assert [("content/a-guid/", "hello")] == Page(Index().render([view()])).links


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", '"><img src=x>', "a\nb</title>"])
def test_titles_stay_text(title: str) -> None:
    page = Page(Index().render([view(title)]))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert title in page.text


def test_reasons_are_not_for_everybody() -> None:
    assert "secret" not in Index().render([view(state="failed")])


def test_what_was_never_deployed_is_no_link() -> None:
    page = Page(Index().render([view(state="empty")]))
    assert [] == page.links
    assert "Nothing deployed" in page.text


def test_a_state_that_the_page_does_not_know_is_shown_as_text() -> None:
    assert "&lt;odd&gt;" in Index().render([view(state="<odd>")])


def test_an_empty_server_says_how_to_begin() -> None:
    assert "supervisor deploy DIR" in Page(Index().render([])).text


@pytest.mark.parametrize(
    ("sessions", "waiting", "busy"),
    [(0, 0, ""), (1, 0, "1 session"), (60, 3, "60 sessions, 3 waiting"), (0, 2, "2 waiting")],
)
def test_how_busy_a_content_is_stands_beside_it(sessions: int, waiting: int, busy: str) -> None:
    html = Index().render([view(sessions=sessions, waiting=waiting)])
    assert f'<span class="busy">{busy}</span>' in html


def test_the_page_may_run_and_load_nothing_and_stand_in_no_frame() -> None:
    page = Page(Index().render([view()]))
    assert "script" not in page.tags
    policy = Index().headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'none'" in policy
    assert policy.endswith("frame-ancestors 'none'")


def test_an_administrators_base_is_around_it() -> None:
    base = "<html><head>{{{head}}}</head><body><p>ACME</p>{{{body}}}</body></html>"
    page = Page(Index({"base.html": base}).render([view("Plot")]))
    assert [("content/a-guid/", "Plot")] == page.links
    assert "ACME" in page.text
