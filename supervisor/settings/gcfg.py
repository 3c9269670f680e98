r"""Read gcfg text (the ini dialect of git) into entries that remember where they stood.

`[Name]` and `[Name "sub"]` open a section, `Key = value` gives an entry; names are compared without
regard to case by whoever looks them up. `;` and `#` begin a comment at the start of a line or after
white space. A value may be quoted (`\"`, `\\`, `\n`, `\t`), and a line ending in `\` goes on.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from supervisor.errors import SupervisorError

_HEADER = re.compile(
    r'\[\s*(?P<name>[A-Za-z][A-Za-z0-9-]*)(?:\s+"(?P<sub>(?:[^"\\]|\\.)*)")?\s*\]\s*(?:[;#].*)?\Z'
)
_KEY = re.compile(r"(?P<key>[A-Za-z][A-Za-z0-9-]*)\s*(?P<equals>=?)")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One `Key = value` of a configuration file, or one override from the environment (line 0).

    subsection is "" where the section has none; column (from 1) is where the value begins and text
    the whole line, both for messages only.
    """

    section: str
    subsection: str
    key: str
    value: str
    file: str
    line: int
    column: int = field(default=1, compare=False, repr=False)
    text: str = field(default="", compare=False, repr=False)

    def refusal(self, message: str, hint: str = "") -> SupervisorError:
        """Give the error that says what is wrong with this entry, and where it stands."""
        return _refusal(
            self.file, self.line, self.column, self.text, f"{self.key}: {message}", hint
        )


def parse(text: str, file: str) -> Iterator[Entry]:
    """Yield the entries of a configuration file in order; `file` is its name for messages.

    Raises SupervisorError("settings-invalid") with file:line:column at the first thing that is not
    gcfg.
    """
    section = subsection = ""
    for number, first, line in _logical_lines(text):
        column = len(line) - len(line.lstrip()) + 1
        stripped = line.strip()
        if not stripped or stripped[0] in ";#":
            continue
        if stripped[0] == "[":
            header = _HEADER.match(stripped)
            if header is None:
                raise _refusal(
                    file, number, column, first, "this is not a section header",
                    'A header looks like [Server], or like [Mount "fonts"].',
                )  # fmt: skip
            section = header["name"]
            subsection = re.sub(r"\\(.)", r"\1", header["sub"] or "")
            continue
        key = _KEY.match(line, column - 1)
        if key is None:
            raise _refusal(file, number, column, first, "a key begins with a letter")
        if not key["equals"]:
            raise _refusal(
                file, number, key.end() + 1, first, f"{key['key']!r} lacks its '='",
                "Every line is a comment, a [Section] or a Key = value.",
            )  # fmt: skip
        if not section:
            raise _refusal(
                file, number, column, first, f"{key['key']!r} stands before any [Section]",
                "Keys belong to the section above them; the first line is often [Server].",
            )  # fmt: skip
        begin = len(line) - len(line[key.end() :].lstrip())
        try:
            value = _value(line, begin)
        except _At as error:
            raise _refusal(file, number, error.position + 1, first, str(error)) from None
        yield Entry(
            section=section,
            subsection=subsection,
            key=key["key"],
            value=value,
            file=file,
            line=number,
            column=begin + 1,
            text=first,
        )


def _logical_lines(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield number, the line as it stands, and the line joined with those that continue it."""
    lines = text.removeprefix("\ufeff").split("\n")
    number = 0
    while number < len(lines):
        start, line = number, lines[number].removesuffix("\r")
        first = line
        comment = line.lstrip()[:1] in (";", "#")
        while not comment and _continues(line) and number + 1 < len(lines):
            number += 1
            line = line[:-1] + lines[number].removesuffix("\r")
        yield start + 1, first, line
        number += 1


def _continues(line: str) -> bool:
    return (len(line) - len(line.rstrip("\\"))) % 2 == 1


class _At(ValueError):
    def __init__(self, message: str, position: int) -> None:
        super().__init__(message)
        self.position = position


def _value(line: str, position: int) -> str:
    """Read the value that begins at `position`: pieces, quoted or not, up to a comment."""
    parts: list[str] = []
    solid = 0  # how much of the value white space at the end must not be stripped from
    quote: int | None = None
    while position < len(line):
        char = line[position]
        if char == '"':
            quote = position if quote is None else None
            solid = len(parts)
        elif char == "\\":
            escaped = line[position + 1 : position + 2]
            if escaped not in _ESCAPES or not escaped:
                shown = f"\\{escaped}" if escaped else "a backslash at the end"
                raise _At(f"{shown} is not an escape; write \\\\ for a backslash", position)
            parts.append(_ESCAPES[escaped])
            solid = len(parts)
            position += 1
        elif quote is None and char in ";#" and line[position - 1] in " \t=":
            break
        elif char < " " and char != "\t":
            raise _At(f"a control character ({char!r}) in a value", position)
        else:
            parts.append(char)
            if quote is not None:
                solid = len(parts)
        position += 1
    if quote is not None:
        raise _At("this quote is never closed", quote)
    return "".join(parts[:solid]) + "".join(parts[solid:]).rstrip()


def _refusal(
    file: str, line: int, column: int, text: str, message: str, hint: str = ""
) -> SupervisorError:
    where = f"{file}:{line}:{column}" if line else file
    shown = f"The line is: {text.strip()}" if text.strip() else ""
    return SupervisorError(
        "settings-invalid", f"{where}: {message}", hint="\n  ".join(filter(None, (shown, hint)))
    )
