"""Every key says what it means, and the reference has it (docs/make_reference.py writes it)."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from supervisor.settings.effective import written
from supervisor.settings.keys import keys_of
from supervisor.settings.sections import SECTIONS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "settings.md").read_text()


def of_plugins() -> list[Any]:
    points = entry_points(group="content_supervisor.v1")
    modules = [importlib.import_module(point.value) for point in points]
    return [kind for m in modules for kind in getattr(m, "supervisor_settings", lambda: ())()]


@pytest.mark.parametrize("kind", [*SECTIONS, *of_plugins()], ids=lambda kind: kind.section)
def test_every_key_says_what_it_means_and_stands_on_the_page(kind: Any) -> None:
    for key in keys_of(kind).values():
        assert key.about, f"[{kind.section}] {key.name}: give its key() an about="
        assert f"\n| `{key.name}` | " in PAGE, f"[{kind.section}] {key.name}: run ./dev docs"


@pytest.mark.parametrize("kind", SECTIONS, ids=lambda kind: kind.section)
def test_a_default_can_be_written_into_the_file(kind: Any) -> None:
    for key in keys_of(kind).values():
        if texts := written(key):
            meant = tuple(map(key.read, texts))
            assert key.default == (meant if key.multi else meant[0]), key.name
