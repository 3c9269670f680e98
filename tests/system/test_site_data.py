"""A site's own data: hidden from an app, explained to its people, and shown by a section."""

from __future__ import annotations

import os
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.browser import open_tab
from tests.support.server import live_server

pytestmark = pytest.mark.system

APP = """
library(shiny)
data <- read.csv("{file}")
shinyApp(fluidPage(h1(paste("total", sum(data$n)))), function(input, output) NULL)
"""


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A file of this machine that everybody may read."""
    made = Path(tempfile.mkdtemp(prefix="site-data-", dir="/srv"))
    made.chmod(0o755)
    (made / "x.csv").write_text("n\n40\n2\n")
    yield made / "x.csv"
    shutil.rmtree(made)


def test_an_app_reads_what_a_section_shows_and_without_it_fails_with_what_would_show_it(
    everything: None, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "app.R").write_text(APP.replace("{file}", str(file)))
    name = file.parent.name
    hint = (
        f"{file} is on this machine, but hidden by the sandbox; "
        f'a section [Mount "{name}"] with Path = {file.parent} would show it'
    )
    section = f'[Mount "{name}"]\nPath = {file.parent}\n'
    with live_server(extra=section) as server:
        path = server.deploy(tmp_path / "app", "sums")
        with urllib.request.urlopen(server.url + path, timeout=30) as answer:
            assert "total 42" in answer.read().decode()
        way = server.supervisor("path", str(file), "--content", "sums").stdout.split("\n")
        assert [str(file), f"    => {file}"] == way[:2]
        assert f'[Mount "{name}"], read-only, for every content' in way[2]
        assert f"mount {name}" in server.supervisor("doctor", check=False).stdout

        server.config.write_text(server.config.read_text().replace(section, ""))
        before = len(server.log())
        server.supervisor("reload")
        server.until(lambda: " parent reloaded problems=0" in server.log()[before:], 60, "reloaded")
        server.supervisor("restart", "sums")
        server.until(lambda: hint in server.row("list", name="sums")["supervisor"]["reason"], 60)
        server.until(lambda: hint in server.supervisor("logs", "sums").stdout, 30, "in the log")
        ended = server.json("ps", "--all")
        assert any(hint in row["reason"] for row in ended if row["state"] == "failed")
        with open_tab() as tab:
            tab.page.goto(server.url + path)
            tab.page.get_by_role("alert").filter(has_text=hint).wait_for(timeout=30_000)
            tab.screenshot(Path(os.environ.get("SCREENSHOTS", tmp_path)) / "hidden.png")
        refused = server.supervisor("deploy", str(tmp_path / "app"), "--name", "sums", check=False)
        assert refused.returncode != 0
        assert hint in " ".join((refused.stdout + refused.stderr).split())
