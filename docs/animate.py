"""Make an animated SVG from an asciicast of a live screen: `python docs/animate.py CAST SVG`.

Every piece of a line is drawn once for each span of time in which it stays the same. No script and
no font of another place; who prefers less motion sees the frame of the middle.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

import attrs
from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

CELL, LINE, MARGIN = 8.4, 18, 12  # pixels: width and height of a cell, around the screen
SHOWN = 0.55  # of the time: the frame for who prefers less motion
BACKGROUND, FOREGROUND, DIM = "#16191d", "#d6d9dd", "#7d858e"
FONT = 'ui-monospace,Menlo,Consolas,"DejaVu Sans Mono",monospace'
# number of a terminal's colour → the colour
PALETTE = {1: "#f0716b", 2: "#7bc275", 3: "#e3b341", 6: "#62bfc7", 8: "#4a5159"}
_PIECE = re.compile(r"\S+(?: \S+)*")
_HOME = "\x1b[H"
_FORMATTING = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-ln-z]")


@attrs.frozen
class Piece:
    """Text in one style at one place of the screen, in cells."""

    row: int
    column: int
    text: str
    style: str


Frame = tuple[float, frozenset[Piece]]


def frames(cast: str) -> tuple[int, int, list[Frame]]:
    """Give columns, rows and the frames of a cast: seconds, and what is to be seen from then on."""
    head, *events = (json.loads(line) for line in cast.splitlines())
    found: list[Frame] = []
    screen, began = "", 0.0
    for at, _, data in events:
        for number, part in enumerate(data.split(_HOME)):
            if number:
                found += _frame(began, screen)
                screen, began = "", at
            screen += part
    found += _frame(began, screen)
    return head["width"], head["height"], found


def _frame(at: float, screen: str) -> Iterator[Frame]:
    text = _CONTROL.sub("", screen).replace("\r", "")
    pieces = frozenset(
        piece for row, line in enumerate(text.split("\n")) for piece in _pieces(row, line)
    )
    if pieces:
        yield at, pieces


def _pieces(row: int, line: str) -> Iterator[Piece]:
    column = 0
    for part in _FORMATTING.sub(lambda match: f"\0{match[0]}", line).split("\0"):
        text = Text.from_ansi(part)
        style = str(text.spans[0].style) if text.spans else ""
        for match in _PIECE.finditer(text.plain):
            before = cell_len(text.plain[: match.start()])
            yield Piece(row, column + before, match[0], style)
        column += cell_len(text.plain)


def svg(cast: str, title: str) -> str:
    """Draw a cast as an SVG that plays it again and again."""
    columns, rows, shots = frames(cast)
    start, length = shots[0][0], max(1.0, shots[-1][0] - shots[0][0] + 2.0)
    spans: dict[tuple[int, int], list[Piece]] = {}
    for piece in sorted({piece for _, pieces in shots for piece in pieces}, key=attrs.astuple):
        for span in _spans([piece in pieces for _, pieces in shots]):
            spans.setdefault(span, []).append(piece)
    times = [(at - start) / length * 100 for at, _ in shots] + [100.0]
    middle = sum(time <= 100 * SHOWN for time in times) - 1
    rules, groups = [], []
    for (first, end), pieces in sorted(spans.items()):
        drawn = "".join(_drawn(piece) for piece in pieces)
        if (first, end) == (0, len(shots)):
            groups.append(f"<g>{drawn}</g>")
            continue
        name = f"s{first}-{end}"
        rules.append(_rule(name, times[first], times[end]))
        still = " m" if first <= middle < end else ""
        groups.append(f'<g class="a{still}" style="animation-name:{name}">{drawn}</g>')
    width, height = columns * CELL + 2 * MARGIN, rows * LINE + 2 * MARGIN
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}">
<title>{escape(title)}</title>
<style>
text{{font:14px {FONT};white-space:pre;fill:{FOREGROUND}}}
.d{{fill:{DIM}}}.b{{font-weight:bold}}.u{{text-decoration:underline}}
{chr(10).join(f".c{number}{{fill:{colour}}}" for number, colour in PALETTE.items())}
.a{{opacity:0;animation:{length:g}s step-end infinite}}
{chr(10).join(rules)}
@media (prefers-reduced-motion:reduce){{.a{{animation:none}}.m{{opacity:1}}}}
</style>
<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>
<g transform="translate({MARGIN} {MARGIN + 13})">
{chr(10).join(groups)}
</g>
</svg>
"""


def _spans(there: Sequence[bool]) -> Iterator[tuple[int, int]]:
    first = None
    for number, now in enumerate([*there, False]):
        if now and first is None:
            first = number
        elif not now and first is not None:
            yield first, number
            first = None


def _rule(name: str, begin: float, end: float) -> str:
    steps = {0.0: 0, round(begin, 2): 1, round(end, 2): 0}
    if begin > 0:
        steps = {0.0: 0, **steps}
    else:
        steps[0.0] = 1
    if end >= 100:
        steps[100.0] = 1
    body = "".join(f"{at:g}%{{opacity:{shown}}}" for at, shown in sorted(steps.items()))
    return f"@keyframes {name}{{{body}}}"


def _drawn(piece: Piece) -> str:
    style = Style.parse(piece.style)
    number = style.color.number if style.color else None
    classes = {"d": style.dim, "b": style.bold, "u": style.underline, f"c{number}": number}
    looks = " ".join(name for name, there in classes.items() if there)
    looks = f' class="{looks}"' if looks else ""
    length = cell_len(piece.text) * CELL
    place = f'x="{piece.column * CELL:g}" y="{piece.row * LINE}" textLength="{length:g}"'
    return f"<text {place}{looks}>{escape(piece.text)}</text>"


def main() -> None:
    """Draw one recording."""
    cast = Path(sys.argv[1]).read_text()
    Path(sys.argv[2]).write_text(svg(cast, json.loads(cast.splitlines()[0]).get("title", "")))


if __name__ == "__main__":
    main()
