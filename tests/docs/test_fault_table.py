"""The table of faults names tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "design" / "threats.md").read_text().partition("## What is tried")[2]
ROWS = [line for line in TABLE.splitlines() if line.startswith("| ")][1:]
_TEST = re.compile(r"`([\w/.-]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_a_fault_has_tests_and_they_are_there(row: str) -> None:
    named = _TEST.findall(row)
    assert named
    for path, name in named:
        assert re.search(rf"^(?:async )?def {name}\(", (ROOT / path).read_text(), re.M), name


def test_every_fault_of_ours_is_in_the_table() -> None:
    assert len(ROWS) >= 11
