"""docs/howto/limits.md: what it says is accepted, and all keys and settings stand there."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from supervisor.api.adjust import read_change
from supervisor.cli.set import KEYS, read_changes
from supervisor.limits import NAMES, SETTINGS, Allowed
from supervisor.model import Limits
from supervisor.settings import configure, parse
from supervisor.settings.sections import Scheduler

PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "limits.md").read_text()
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, re.DOTALL)
SET = re.findall(r"^supervisor set \w+([^#\n]*)", "\n".join(b for _, b in BLOCKS), re.MULTILINE)
FIELDS = {name: field for field, name in NAMES.items()}


@pytest.mark.parametrize("words", SET)
def test_a_sample_is_accepted(words: str) -> None:
    change = read_change(read_changes(words.split()), set(KEYS))
    limits = Limits(**{FIELDS[name]: value for name, value in change.items()})
    Allowed.of(Scheduler()).check(attrs.asdict(limits))


@pytest.mark.parametrize("text", [text for kind, text in BLOCKS if kind == "ini"])
def test_the_settings_of_the_page_are_accepted(text: str) -> None:
    assert () == configure(parse(text, "limits.md")).warnings


def test_every_limit_stands_on_the_page_with_its_settings() -> None:
    told = re.findall(r"^\| `(\w+)` \| (\w+)", PAGE, re.MULTILINE)
    assert set(NAMES.values()) == {name for name, _ in told}
    assert {default for default, _ in SETTINGS.values()} < {setting for _, setting in told}
    for _, most in SETTINGS.values():
        assert f"`{most}`" in PAGE
