r"""Read gcfg text (the ini dialect of git) into entries that remember where they stood.

`[Name]` and `[Name "sub"]` open a section, `Key = value` gives an entry; names are compared without
regard to case by whoever looks them up. `;` and `#` begin a comment at the start of a line or after
white space. A value may be quoted (`\"`, `\\`, `\n`, `\t`), and a line ending in `\` goes on.
"""

from __future__ import annotations

import dataclasses
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

    @property
    def place(self) -> str:
        """Where it stands: file and line, or the variable of the environment."""
        return f"{self.file}:{self.line}" if self.line else self.file

    def refusal(
        self, message: str, hint: str = "", *, code: str = "settings-invalid"
    ) -> SupervisorError:
        """Give the error that says what is wrong with this entry, and where it stands."""
        where = f"{self.place}:{self.column}" if self.line else self.file
        return _refusal(where, self.text, f"{self.key}: {message}", hint, code=code)

    def masked(self) -> Entry:
        """Give it with its line as one may show it where the value is a secret."""
        return dataclasses.replace(self, text=f"{self.key} = (secret)" if self.text else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Line:
    """A line joined with those that continue it: at[n] is where its n-th part begins in `whole`."""

    number: int
    parts: tuple[str, ...]
    whole: str
    at: tuple[int, ...]

    def refusal(self, file: str, position: int, message: str, hint: str = "") -> SupervisorError:
        part = max(n for n, begin in enumerate(self.at) if begin <= position or n == 0)
        where = f"{file}:{self.number + part}:{position - self.at[part] + 1}"
        return _refusal(where, self.parts[part], message, hint)


def parse(text: str, file: str, problems: list[SupervisorError] | None = None) -> Iterator[Entry]:
    """Yield the entries of a configuration file in order; `file` is its name for messages.

    Raises SupervisorError("settings-invalid") with file:line:column at the first thing that is not
    gcfg; with `problems` it is put there, and the next line is read.
    """
    section: tuple[str, str] | None = None
    for line in _logical_lines(text):
        stripped = line.whole.strip()
        if not stripped or stripped[0] in ";#":
            continue
        try:
            if stripped[0] == "[":
                section = "", ""  # where it is broken, its keys are not also without a section
                section = _header(line, file, stripped)
                continue
            entry = _entry(line, file, section)
        except SupervisorError as error:
            if problems is None:
                raise
            problems.append(error)
            continue
        if entry.section:
            yield entry


def _header(line: _Line, file: str, stripped: str) -> tuple[str, str]:
    header = _HEADER.match(stripped)
    if header is None:
        raise line.refusal(
            file, _indent(line.whole), "this is not a section header",
            'A header looks like [Server], or like [Mount "fonts"].',
        )  # fmt: skip
    return header["name"], re.sub(r"\\(.)", r"\1", header["sub"] or "")


def _entry(line: _Line, file: str, section: tuple[str, str] | None) -> Entry:
    whole, begin = line.whole, _indent(line.whole)
    key = _KEY.match(whole, begin)
    if key is None:
        raise line.refusal(file, begin, "a key begins with a letter")
    if not key["equals"]:
        raise line.refusal(
            file, key.end(), f"{key['key']!r} lacks its '='",
            "Every line is a comment, a [Section] or a Key = value.",
        )  # fmt: skip
    if section is None:
        raise line.refusal(
            file, begin, f"{key['key']!r} stands before any [Section]",
            "Keys belong to the section above them; the first line is often [Server].",
        )  # fmt: skip
    begin = len(whole) - len(whole[key.end() :].lstrip())
    try:
        value = _value(whole, begin)
    except _At as error:
        raise line.refusal(file, error.position, str(error)) from None
    return Entry(
        section=section[0],
        subsection=section[1],
        key=key["key"],
        value=value,
        file=file,
        line=line.number,
        column=min(begin, len(line.parts[0])) + 1,
        text=line.parts[0],
    )


def _logical_lines(text: str) -> Iterator[_Line]:
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    number = 0
    while number < len(lines):
        start, whole, at = number, lines[number], [0]
        while _continues(whole) and number + 1 < len(lines):
            number += 1
            at.append(len(whole) - 1)
            whole = whole[:-1] + lines[number]
        parts = tuple(lines[start : number + 1])
        yield _Line(number=start + 1, parts=parts, whole=whole, at=tuple(at))
        number += 1


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _continues(line: str) -> bool:
    if (len(line) - len(line.rstrip("\\"))) % 2 == 0:
        return False
    quoted, position = False, 0
    while position < len(line):  # a comment does not go on
        char = line[position]
        if char == '"':
            quoted = not quoted
        elif not quoted and _begins_comment(line, position):
            return False
        position += 2 if char == "\\" else 1
    return True


def _begins_comment(line: str, position: int) -> bool:
    return line[position] in ";#" and (position == 0 or line[position - 1] in " \t=")


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
        elif quote is None and _begins_comment(line, position):
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
    where: str, text: str, message: str, hint: str, *, code: str = "settings-invalid"
) -> SupervisorError:
    shown = f"The line is: {text.strip()}" if text.strip() else ""
    hint = "\n  ".join(filter(None, (shown, hint)))
    return SupervisorError(code, f"{where}: {message}", hint=hint)
