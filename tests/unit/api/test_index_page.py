"""The index page: pure HTML of the views."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from supervisor.core.service import ContentView
from supervisor.model import Content, ContentId, Guid
from supervisor.pages.index import SECURITY_HEADERS, STYLE, index_page


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


def view(title: str = "", state: str = "running", name: str = "hello") -> ContentView:
    content = Content(id=ContentId(1), guid=Guid("a-guid"), name=name, title=title)
    return ContentView(content=content, state=state, reason="secret detail")


def test_each_content_is_a_relative_link_with_its_title_and_state() -> None:
    page = Page(index_page([view("Hello & welcome")]))
    assert [("content/a-guid/", "Hello & welcome")] == page.links
    assert "Running" in page.text
    assert "hello" in page.text


def test_without_a_title_the_name_is_the_link() -> None:
    assert [("content/a-guid/", "hello")] == Page(index_page([view()])).links


@pytest.mark.parametrize("title", ["<script>alert(1)</script>", '"><img src=x>', "a\nb</title>"])
def test_titles_stay_text(title: str) -> None:
    page = Page(index_page([view(title)]))
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert title in page.text


def test_reasons_are_not_for_everybody() -> None:
    assert "secret" not in index_page([view(state="failed")])


def test_what_was_never_deployed_is_no_link() -> None:
    page = Page(index_page([view(state="empty")]))
    assert [] == page.links
    assert "Nothing deployed" in page.text


def test_a_state_that_the_page_does_not_know_is_shown_as_text() -> None:
    assert "&lt;odd&gt;" in index_page([view(state="<odd>")])


def test_an_empty_server_says_how_to_begin() -> None:
    assert "supervisor deploy DIR" in Page(index_page([])).text


def test_the_only_style_is_the_one_that_the_policy_names() -> None:
    html = index_page([view()])
    assert f"<style>{STYLE}</style>" in html
    assert 1 == html.count("<style")
    assert "style=" not in html
    assert "default-src 'none'" in SECURITY_HEADERS["content-security-policy"]
