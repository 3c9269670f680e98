"""docs/reference/settings.md has every key of every section, with the default that the code has."""

from __future__ import annotations

import dataclasses
import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import attrs
import pytest

from supervisor.settings.sections import SECTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text()


def documented(section: str) -> dict[str, str]:
    """Give key → default as the page's table of a section has them."""
    match = re.search(
        rf'^##+ \[{section}(?: "name")?\]$(.*?)(?=^##|\Z)', PAGE, re.MULTILINE | re.DOTALL
    )
    assert match, f"no heading ## [{section}]"
    return dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", match[1], re.MULTILINE))


def written(default: Any) -> str | None:
    """Give a default as a person writes it; None where the page says it in words."""
    if default in (None, "", ()):
        return None
    if isinstance(default, tuple):
        return ", ".join(f"`{value}`" for value in default)
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, float) and default >= 1:
        return f"`{default:.10g}s`"
    return f"`{default}`"


@pytest.mark.parametrize("kind", SECTIONS, ids=lambda kind: kind.section)
def test_the_page_has_the_keys_and_defaults_of_a_section(kind: Any) -> None:
    page = documented(kind.section)
    fields = {field.metadata["name"]: field.default for field in dataclasses.fields(kind)}
    assert set(fields) == set(page)
    for key, default in fields.items():
        if expected := written(default):
            assert (key, expected) == (key, page[key])


def test_the_page_has_the_keys_of_the_plugins_sections() -> None:
    for point in entry_points(group="content_supervisor.v1"):
        module = importlib.import_module(point.value)
        for kind in getattr(module, "supervisor_settings", lambda: ())():
            keys = {field.name.replace("_", "") for field in attrs.fields(kind)}
            assert keys == {key.lower() for key in documented(kind.section)}, point.name
