"""The site: built without a warning, read without a network; what its parts make of Markdown."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SITE = ROOT / ".dev" / "docs"  # kept: what has not changed is not built again


def build(source: Path, place: Path) -> str:
    """Build as `./dev docs` does; give what is wrong."""
    sphinx = (sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q")
    done = subprocess.run(
        [*sphinx, "-c", DOCS, "-d", place / "doctrees", source, place / "html"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert bool(done.returncode) is bool(done.stderr), done.stdout + done.stderr
    return done.stderr


@pytest.fixture(scope="session")
def site() -> Path:
    """The site of this checkout."""
    assert "" == build(DOCS, SITE)
    return SITE / "html"


@pytest.fixture(scope="session")
def parts() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_parts", DOCS / "site_parts.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_page_is_built_and_stands_in_the_menu(site: Path) -> None:
    pages = {page.relative_to(DOCS) for page in DOCS.rglob("*.md")}
    pages = {page for page in pages if page.parts[0] != "changelog.d"}
    menu = (site / "index.html").read_text()
    for page in pages - {Path("index.md")}:
        html = str(page.with_suffix(".html"))
        assert (site / html).exists(), html
        assert f'class="reference internal" href="{html}"' in menu, html


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r'<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)="(?:https?:)?//[^"]*"')
    for page in site.rglob("*.html"):
        assert [] == loads.findall(page.read_text()), page
    for style in site.rglob("*.css"):
        assert [] == re.findall(r"(?:@import|url\()\s*[\"']?(?:https?:)?//", style.read_text())


def test_a_dead_link_and_a_page_that_nobody_leads_to_are_errors(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    source.mkdir()
    (source / "index.md").write_text(
        "# Start\n\n[a](gone.md) [b](#nowhere) [c](other.md#gone)\n\n```{toctree}\nother\n```\n"
    )
    (source / "other.md").write_text("# Other\n")
    (source / "lost.md").write_text("# Lost\n")
    (source / "static").mkdir()
    said = build(source, tmp_path / "built")
    for wrong in ("gone.md", "'nowhere'", "'gone'", "lost.md"):
        assert wrong in said, said


def test_a_diagram_of_states_becomes_its_arrows(parts: ModuleType) -> None:
    diagram = (
        "stateDiagram-v2\n    [*] --> queued\n    queued --> failed: ended\n    failed --> [*]"
    )
    assert [("(new)", "", "queued"), ("queued", "ended", "failed")] == parts.transitions(diagram)


def test_every_note_of_a_change_stands_on_the_page_of_changes(
    site: Path, parts: ModuleType
) -> None:
    notes = [path for path in parts.NOTES.glob("*.*.md")]
    assert set() == {path.name for path in notes if path.name.split(".")[1] not in parts.KINDS}
    shown = (site / "changelog.html").read_text()
    assert len(notes) == shown.split('<section id="changes">')[1].split("</article>")[0].count(
        "<li>"
    )
