"""docs/howto/tune.md: every sample is accepted by the bounds of a server with default settings."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from supervisor import bounds
from supervisor.api.adjust import read_change
from supervisor.cli.set import KEYS, read_changes
from supervisor.model import Overrides, Scaling
from supervisor.settings import configure, parse

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "howto" / "tune.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SHELL = "\n".join(text for kind, text in BLOCKS if kind == "sh").replace("\\\n", " ")
SET = re.findall(r"^supervisor set (\w+)([^#\n]*)", SHELL, re.MULTILINE)
FIELDS = {name: field for field, name in bounds.NAMES.items()}


@pytest.mark.parametrize(("content", "words"), SET)
def test_a_sample_is_accepted(content: str, words: str) -> None:
    change = read_change(read_changes(words.split()), set(KEYS))
    overrides = Overrides(**{FIELDS[name]: value for name, value in change.items()})
    bounds.check(overrides.over(Scaling()), least_limit=10, most_limit=20)


def test_there_are_samples() -> None:
    assert {"sales", "model", "dashboard", "prices", "archive"} == {name for name, _ in SET}


def test_the_settings_of_the_page_are_accepted() -> None:
    (text,) = (text for kind, text in BLOCKS if kind == "ini")
    assert 40 == configure(parse(text, "tune.md")).scheduler.most_limit


def test_the_page_says_what_each_limit_does() -> None:
    table = PAGE.split("## What each limit does")[1]
    told = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert set(bounds.NAMES.values()) - {"drain_notice"} == told
    assert len(attrs.fields(Scaling)) == len(told) + 1
