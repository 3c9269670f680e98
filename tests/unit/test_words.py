"""Words: what the core never says, one word for one thing, names that are taken, sizes of files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import supervisor
from supervisor.lifecycle import Event, State
from supervisor.model import Access, Cause, ContentKind, PlaceKind, Purpose, Role
from supervisor.model.content import BundleState

ROOT = Path(__file__).parents[2]

# Knowledge of languages, sandboxes, clusters and databases lives in plugins.
FORBIDDEN = re.compile(
    r"Rscript|packrat|Quarto|\bpods?\b|unshare|sqlite|postgres|psycopg", re.IGNORECASE
)

# Top-level modules of supervisord and its forks, whose package has the same name as ours.
TAKEN = frozenset(
    "process events states http web options loggers dispatchers poller templating datatypes compat "
    "socket_manager rpcinterface childutils confecho http_client pidproxy xmlrpc medusa scripts "
    "skel ui tests supervisorctl supervisord".split()
)

# Names that say nothing of what a class does.
EMPTY_NAMES = re.compile(r"^class \w*(Manager|Helper|Utils?|Handler)\b", re.MULTILINE)

OUR_FILES = sorted((ROOT / "supervisor").rglob("*.py"))
OUR_TEXTS = sorted(
    path for kind in ("html", "gcfg") for path in (ROOT / "supervisor").rglob(f"*.{kind}")
)
PLUGIN_FILES = sorted((ROOT / "plugins").rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*OUR_FILES, *OUR_TEXTS], ids=name)
def test_the_core_knows_no_language_sandbox_cluster_or_database(path: Path) -> None:
    found = [
        f"{path}:{number}: {match[0]}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if (match := FORBIDDEN.search(line))
    ]
    assert [] == found


@pytest.mark.parametrize("path", [*OUR_FILES, *PLUGIN_FILES, *TEST_FILES], ids=name)
def test_a_file_holds_one_idea(path: Path) -> None:
    limit = 600 if {"tests", "testing"} & set(path.relative_to(ROOT).parts) else 400
    lines = len(path.read_text().splitlines())
    assert lines <= limit


@pytest.mark.parametrize("path", [*OUR_FILES, *PLUGIN_FILES], ids=name)
def test_class_names_say_what_the_class_is(path: Path) -> None:
    assert [] == EMPTY_NAMES.findall(path.read_text())


def test_no_top_level_module_has_a_name_of_supervisord() -> None:
    mine = {path.stem for path in (ROOT / "supervisor").iterdir()}
    assert set() == mine & TAKEN


def test_pages_and_the_sample_are_read_for_words_too() -> None:
    assert {".html", ".gcfg"} == {path.suffix for path in OUR_TEXTS}


def test_the_glossary_has_every_word_of_the_model() -> None:
    kinds = (State, Event, Purpose, Role, Cause, ContentKind, BundleState, PlaceKind, Access)
    glossary = (ROOT / "docs" / "words.md").read_text()
    words = {f"{kind.__name__} {word.value}" for kind in kinds for word in kind}
    assert set() == {word for word in words if f"`{word.split()[1]}`" not in glossary}


def test_all_distributions_have_one_version() -> None:
    versions = {
        name(path): re.findall(r'^version = "(.*)"$', path.read_text(), re.MULTILINE)
        for path in [ROOT / "pyproject.toml", *(ROOT / "plugins").glob("*/pyproject.toml")]
    }
    assert {path: [supervisor.__version__] for path in versions} == versions
