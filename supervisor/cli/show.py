"""What people see: tables, sizes, ages; nothing that content wrote can steer their terminal."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Sequence

import click

# C0 and C1 controls and bidirectional overrides
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
RUN_DIGITS = 12  # the millisecond and ten random bits: enough to tell runs apart


def printable(text: str, *, lines: bool = False) -> str:
    """Make control characters visible; `lines` keeps newlines, tabs always become a space."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\t", " ")

    def visible(match: re.Match[str]) -> str:
        if lines and match.group() == "\n":
            return "\n"
        return match.group().encode("unicode_escape").decode("ascii")

    return _UNSAFE.sub(visible, text)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; numbers to the right. Plain when not a terminal; nothing wraps."""
    cells = [["" if cell is None else printable(str(cell)) for cell in row] for row in rows]
    right = [
        bool(rows) and all(isinstance(row[at], int | float | Right) or not row[at] for row in rows)
        for at in range(len(headers))
    ]
    widths = [max(map(_width, column)) for column in zip(headers, *cells, strict=True)]
    for number, row in enumerate([list(headers), *cells]):
        padded = [
            _pad(cell, width, to_right)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        line = "  ".join(padded).rstrip()
        if number == 0:
            line = click.style(line, bold=True)
        click.echo(line)


class Right(str):
    """A text that a table puts to the right, such as a size."""

    __slots__ = ()


def size(count: float | None) -> Right:
    """Give bytes as people read them: 512 B, 1.5 kB, 123 MB."""
    if count is None:
        return Right("-")
    if count < 999.5:
        return Right(f"{count:.0f} B")
    power = 1
    while count / 1000**power >= 999.5 and power < 4:
        power += 1
    amount, unit = count / 1000**power, ("kB", "MB", "GB", "TB")[power - 1]
    return Right(f"{amount:.1f} {unit}" if amount < 9.95 else f"{amount:.0f} {unit}")


def age(seconds: float | None) -> Right:
    """Give a time span in its two largest units: 42s, 5m10s, 3h02m, 4d05h."""
    if seconds is None:
        return Right("-")
    whole = max(0, int(seconds))
    if whole < 60:
        return Right(f"{whole}s")
    if whole < 3600:
        return Right(f"{whole // 60}m{whole % 60:02}s")
    if whole < 86400:
        return Right(f"{whole // 3600}h{whole % 3600 // 60:02}m")
    return Right(f"{whole // 86400}d{whole % 86400 // 3600:02}h")


def duration(seconds: float) -> str:
    """Give a time span as the settings file has it: 500ms, 15s, 2m, 1h30m, 30d."""
    from supervisor.settings.effective import duration as written

    return written(seconds)


def short_run(run: str) -> str:
    """Give the beginning of a run's id, enough to name it with."""
    return run[:RUN_DIGITS]


def is_terminal() -> bool:
    """Tell whether a person looks at standard output."""
    return sys.stdout.isatty()


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def _pad(text: str, width: int, to_right: bool) -> str:
    filling = " " * (width - _width(text))
    return filling + text if to_right else text + filling
