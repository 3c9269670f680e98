"""A real browser: Debian's Chromium, driven by Playwright (synchronous; use it in a thread)."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Debian's r-cran-shiny asks for this file and does not have it.
HARMLESS = ("strftime-min.js",)


class Tab:
    """One page of a browser. errors holds what went wrong in it, less what is known as harmless."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self._note(str(error)))
        page.on(
            "response",
            lambda answer: (
                self._note(f"{answer.status} {answer.url}")
                if answer.status >= 400 and answer.request.resource_type != "document"
                else None
            ),
        )

    def wait_for_text(self, selector: str, text: str, *, seconds: float = 30.0) -> None:
        """Wait until the element holds exactly this text. Raises playwright's TimeoutError."""
        self.page.wait_for_function(
            "([selector, text]) => document.querySelector(selector)?.innerText.trim() === text",
            arg=[selector, text],
            timeout=seconds * 1000,
        )

    def set_input(self, name: str, value: object) -> None:
        """Set a Shiny input, as moving its widget does."""
        self.page.evaluate("([name, value]) => Shiny.setInputValue(name, value)", [name, value])

    def move_slider(self, name: str, value: float) -> None:
        """Move a slider of Shiny's to a value; the widget on the page moves too."""
        self.page.evaluate(
            "([name, value]) => jQuery('#' + name).data('ionRangeSlider').update({from: value})",
            [name, value],
        )

    def screenshot(self, path: Path) -> Path:
        """Save what is visible as a PNG, and give its path."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))
        return path

    def _note(self, text: str) -> None:
        if not any(known in text for known in HARMLESS):
            self.errors.append(text)


@contextmanager
def open_tab(*, width: int = 1100, height: int = 700) -> Iterator[Tab]:
    """Start a browser with one empty page; it ends with the block."""
    with open_tabs(1, width=width, height=height) as (tab,):
        yield tab


@contextmanager
def open_tabs(count: int, *, width: int = 1100, height: int = 700) -> Iterator[list[Tab]]:
    """Start a browser with empty pages of as many visitors: they share no cookies."""
    from playwright.sync_api import sync_playwright

    executable = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=list(FLAGS))
        try:
            yield [
                Tab(browser.new_page(viewport={"width": width, "height": height}))
                for _ in range(count)
            ]
        finally:
            browser.close()
