"""A real server shows an administrator's own pages, or says why it does not start."""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.brand import shown_templates
from tests.support.browser import open_tab
from tests.support.pages import all_pages, show
from tests.support.server import live_server

pytestmark = pytest.mark.system
NOBODYS = "/content/0f8fad5b-d9cb-469f-a165-70867728950e/"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with the templates of the how-to."""
    with tempfile.TemporaryDirectory() as name:
        for file, text in shown_templates().items():
            (Path(name) / file).write_text(text)
        yield Path(name)


def page(url: str) -> str:
    """Open an address as a browser does; give the page, whatever its status."""
    request = urllib.request.Request(url, headers={"Accept": "text/html"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return error.read().decode()


def test_gateway_and_core_show_the_templates_of_the_folder(needs: Any, folder: Path) -> None:
    needs.root()
    with live_server(extra=f"[Pages]\nTemplates = {folder}\n") as server:
        for path, heading in ((NOBODYS, "There is nothing"), ("/", "Published content")):
            html = page(server.url + path)
            assert "Acme Analytics</header>" in html
            assert f"<h1>{heading}" in html


def test_a_template_that_cannot_work_refuses_the_start(needs: Any, folder: Path) -> None:
    needs.root()
    (folder / "waiting.html").write_text("<title>x</title><h1>x</h1>")
    with live_server(extra=f"[Pages]\nTemplates = {folder}\n", start=False) as server:
        process = server.start(wait=False).process
        assert process
        assert 78 == process.wait(20)
        said = server.log()
    assert f"Pages.Templates = {folder}: waiting.html: it lacks {{{{wait}}}}" in said
    assert "settings-invalid" in said
    assert "Traceback" not in said


def test_branded_pages_fit_a_phone(needs: Any) -> None:
    needs.chromium()
    with open_tab(width=360, height=640) as tab:
        for name, html, policy in all_pages(shown_templates()):
            show(tab.page, html, policy)
            assert tab.page.evaluate("document.documentElement.scrollWidth") <= 360, name
            assert (
                1 == tab.page.get_by_role("main").count() == tab.page.get_by_role("banner").count()
            )
