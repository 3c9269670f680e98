"""The recording of `ps --watch` in the documentation, and how it is drawn."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).parents[2] / "docs"
RECORDING = DOCS / "images" / "ps-watch.cast"
MOST = 300 * 1024  # bytes of recording and drawing


@pytest.fixture(scope="session")
def animate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("animate", DOCS / "animate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cast(*events: tuple[float, str]) -> str:
    head = json.dumps({"version": 2, "width": 20, "height": 3})
    return "\n".join([head, *(json.dumps([at, "o", text]) for at, text in events)])


def test_a_frame_begins_where_the_cursor_goes_home(animate: ModuleType) -> None:
    text = cast((0.5, "\x1b[?1049h\x1b[Ha  \x1b[1mb\x1b[0m\r\nc"), (1.5, "\x1b[Ha"), (2.0, "  d"))
    columns, rows, frames = animate.frames(text)
    assert (20, 3) == (columns, rows)
    (first, seen), (second, then) = frames
    assert (0.5, 1.5) == (first, second)
    assert {(0, 0, "a", ""), (0, 3, "b", "bold"), (1, 0, "c", "")} == {
        (piece.row, piece.column, piece.text, piece.style) for piece in seen
    }
    assert {"a", "d"} == {piece.text for piece in then}


def test_what_stays_is_drawn_once_and_what_changes_for_its_time(animate: ModuleType) -> None:
    drawing = animate.svg(cast((0.0, "\x1b[Hstays  one"), (1.0, "\x1b[Hstays  two")), "a & b")
    tree = ElementTree.fromstring(drawing)
    texts = [node.text for node in tree.iter("{http://www.w3.org/2000/svg}text")]
    assert {"stays", "one", "two"} == set(texts)
    assert 3 == len(texts)
    assert "@keyframes s0-1{0%{opacity:1}33.33%{opacity:0}}" in drawing
    assert "@keyframes s1-2{0%{opacity:0}33.33%{opacity:1}100%{opacity:1}}" in drawing
    assert "a &amp; b" in drawing


def test_the_drawing_is_that_of_the_recording_and_small(animate: ModuleType) -> None:
    recorded = RECORDING.read_text()
    drawing = RECORDING.with_suffix(".svg").read_text()
    title = json.loads(recorded.splitlines()[0])["title"]
    assert animate.svg(recorded, title) == drawing
    assert len(recorded.encode()) + len(drawing.encode()) < MOST
    assert "http" not in drawing.replace("http://www.w3.org/2000/svg", "")
