"""The templates of the how-to make every page."""

from __future__ import annotations

import pytest

from supervisor.templates.check import check
from tests.support.brand import shown_templates
from tests.support.pages import all_pages

TEMPLATES = shown_templates()
PAGES = {name: html for name, html, _ in all_pages(TEMPLATES)}


def test_the_how_to_shows_a_base_and_a_page_that_are_accepted() -> None:
    assert {"base.html", "waiting.html"} == TEMPLATES.keys()
    for name, text in TEMPLATES.items():
        check(name, text)


@pytest.mark.parametrize("name", PAGES)
def test_every_page_has_the_frame(name: str) -> None:
    assert "Acme Analytics</header>" in PAGES[name]
    assert 1 == PAGES[name].count("<title>")


def test_the_waiting_page_speaks_as_the_how_to_says() -> None:
    assert "<span data-before>11</span> colleagues are before you." in PAGES["queued-many"]
    assert 'data-state="queued many"' in PAGES["queued-many"]
