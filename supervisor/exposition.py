"""Figures and their text form for Prometheus (version 0.0.4). Standard library only."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Figure:
    """A counter or gauge: one number for each combination of labels' values."""

    def __init__(self, name: str, kind: Kind, about: str, labels: Sequence[str] = ()) -> None:
        self.name = name
        self.kind: Kind = kind
        self.about = about
        self.labels = tuple(labels)
        self.values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}

    def add(self, *labels: str, by: float = 1.0) -> None:
        """Count up."""
        self.values[labels] = self.values.get(labels, 0.0) + by

    def set(self, value: float, *labels: str) -> None:
        """Replace the number."""
        self.values[labels] = value

    def clear(self) -> None:
        """Forget all numbers, before they are set anew."""
        self.values = {}

    def lines(self) -> Iterator[str]:
        """Give the lines of its numbers."""
        for labels, value in self.values.items():
            yield f"{self.name}{braces(self.labels, labels)} {number(value)}"


class Histogram:
    """How often a value was at most each bound; `add` counts one."""

    kind: Kind = "histogram"

    def __init__(
        self, name: str, about: str, bounds: Sequence[float], labels: Sequence[str] = ()
    ) -> None:
        self.name = name
        self.about = about
        self.bounds = tuple(bounds)
        self.labels = tuple(labels)
        self._counts: dict[tuple[str, ...], list[int]] = {}
        self._sums: dict[tuple[str, ...], float] = {}
        if not labels:
            self._row(())

    def add(self, value: float, *labels: str) -> None:
        """Count a value."""
        self._row(labels)[bisect_left(self.bounds, value)] += 1
        self._sums[labels] += value

    def _row(self, labels: tuple[str, ...]) -> list[int]:
        if labels not in self._counts:
            self._counts[labels] = [0] * (len(self.bounds) + 1)
            self._sums[labels] = 0.0
        return self._counts[labels]

    def lines(self) -> Iterator[str]:
        """Give the lines of its numbers."""
        names = (*self.labels, "le")
        for labels, counts in self._counts.items():
            total = 0
            for bound, count in zip((*self.bounds, math.inf), counts, strict=True):
                total += count
                yield f"{self.name}_bucket{braces(names, (*labels, number(bound)))} {total}"
            yield f"{self.name}_sum{braces(self.labels, labels)} {number(self._sums[labels])}"
            yield f"{self.name}_count{braces(self.labels, labels)} {total}"


def render(families: Iterable[Figure | Histogram]) -> bytes:
    """Write all families; one without a number is left out."""
    text = []
    for family in families:
        lines = list(family.lines())
        if lines:
            about = family.about.replace("\\", r"\\").replace("\n", r"\n")
            text += [f"# HELP {family.name} {about}", f"# TYPE {family.name} {family.kind}", *lines]
    return "\n".join([*text, ""]).encode()


def braces(names: Sequence[str], values: Sequence[str]) -> str:
    """Write labels; nothing where there are none."""
    if not names:
        return ""
    pairs = zip(names, values, strict=True)
    inner = ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in pairs)
    return f"{{{inner}}}"


def number(value: float) -> str:
    """Write a number: whole ones without a fraction."""
    if value == math.inf:
        return "+Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
