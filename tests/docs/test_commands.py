"""Every command that the documentation shows exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from supervisor.cli.root import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md"]
PAGES += [
    page
    for under in ("", "howto/", "explanation/", "reference/")
    for page in sorted((ROOT / "docs").glob(f"{under}*.md"))
]


def shown(page: Path, program: str) -> set[str]:
    """Give the words that follow a program's name in code of the page."""
    code = re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(), re.DOTALL)
    lines = [line.strip() for pair in code for part in pair for line in part.splitlines()]
    pattern = re.compile(rf"(?:\S*/)?{re.escape(program)} ([a-z][a-z-]*)")
    return {match[1] for line in lines if (match := pattern.match(line))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_shows_only_commands_that_exist(page: Path) -> None:
    assert set() == (shown(page, "supervisor") | shown(page, "dev run")) - set(COMMANDS)
    offered = set(re.findall(r"^    ([a-z]+)\)", (ROOT / "dev").read_text(), re.MULTILINE))
    assert set() == shown(page, "dev") - offered


def test_the_reader_of_pages_finds_what_readme_shows() -> None:
    assert {"deploy", "list", "ps", "logs"} <= shown(ROOT / "README.md", "supervisor")
    assert {"serve", "test"} <= shown(ROOT / "README.md", "dev")


def test_every_option_is_explained() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    assert [] == re.findall(r"^\| `[^`]+` \|\s*\|$", page, re.MULTILINE)


def test_dev_explains_every_command_that_it_has() -> None:
    script = (ROOT / "dev").read_text()
    explained = set(re.findall(r"^\./dev ([a-z]+)", script, re.MULTILINE))
    assert explained == set(re.findall(r"^    ([a-z]+)\)", script, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_inside_the_documentation_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [] == [link for link in links if not (page.parent / link).exists()]
