"""docs/reference says what the code does: the generated parts are as they would be now."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted([*(DOCS / "reference").glob("*.md"), *(DOCS / "explanation").glob("*.md")])


@pytest.fixture(scope="session")
def make_reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_reference", DOCS / "make_reference.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_reference_page_is_as_the_code_would_write_it(
    page: Path, make_reference: ModuleType
) -> None:
    assert make_reference.renewed(page.read_text()) == page.read_text(), "run ./dev docs"


def test_every_generated_part_stands_on_a_page(make_reference: ModuleType) -> None:
    text = "".join(page.read_text() for page in PAGES)
    assert set() == {name for name in make_reference.PARTS if f"<!-- begin {name} -->" not in text}


def test_every_picture_is_as_the_code_would_draw_it(make_reference: ModuleType) -> None:
    pictures = make_reference.make_pictures
    for name, draw in pictures.PICTURES.items():
        assert draw() == (pictures.IMAGES / name).read_text(), f"{name}: run ./dev docs"
