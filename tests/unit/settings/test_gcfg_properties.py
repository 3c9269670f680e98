"""The parser against another one of the same dialect: dulwich's, for the files of git.

On what both mean to read, they must agree. Left out is where we differ on purpose: a comment needs
white space before it, a key needs its `=`, a header stands alone on its line, and the line after a
continuation keeps its indentation, as in git itself.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

from dulwich.config import ConfigFile
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import SupervisorError
from supervisor.settings import parse

Values = dict[tuple[str, str, str], list[str]]

NAMES = st.sampled_from(["Key", "key", "Two"]) | st.from_regex(
    "[A-Za-z][A-Za-z0-9-]{0,8}", fullmatch=True
)
LETTERS = st.characters(codec="utf-8", categories=("L", "N", "P", "S"), exclude_characters='"\\;#')
WORDS = st.text(LETTERS, min_size=1, max_size=8)
ESCAPES = st.sampled_from(["\\n", "\\t", '\\"', "\\\\"])
# Begins with a letter: dulwich drops white space before a quote that begins with some.
QUOTED = st.builds(
    lambda first, rest: f'"{first}{"".join(rest)}"',
    WORDS,
    st.lists(WORDS | ESCAPES | st.sampled_from([" ", "; ", "# ", "\t", "=", "[x]"]), max_size=5),
)
PIECES = WORDS | ESCAPES | QUOTED | st.builds(" ".join, st.lists(WORDS, min_size=2, max_size=3))
CONTINUED = st.builds("\\\n".join, st.lists(PIECES, min_size=2, max_size=3))
WRITTEN = st.builds("".join, st.lists(PIECES, max_size=4)) | CONTINUED
COMMENTS = st.builds(
    "{}{}".format, st.sampled_from(";#"), st.text(LETTERS | st.just(" "), max_size=10)
)
SPACE = st.sampled_from(["", " ", "\t", "  "])
SUBSECTIONS = st.text(LETTERS | st.sampled_from(" ./"), max_size=8)
HEADERS = st.builds("[{}]".format, NAMES) | st.builds('[{} "{}"]'.format, NAMES, SUBSECTIONS)
ENTRIES = st.builds(
    "{}{}{}={}{}{}".format,
    SPACE, NAMES, SPACE, SPACE, WRITTEN, st.just("") | st.builds(" {}".format, COMMENTS),
)  # fmt: skip
LINES = ENTRIES | COMMENTS | SPACE | HEADERS
FILES = st.builds(
    lambda header, lines, end: end.join([header, *lines, ""]),
    HEADERS,
    st.lists(LINES, max_size=12),
    st.just("\n"),
)


def ours(text: str) -> Values:
    found: Values = {}
    for entry in parse(text, "test.gcfg"):
        name = entry.section.lower(), entry.subsection, entry.key.lower()
        found.setdefault(name, []).append(entry.value)
    return found


def theirs(text: str) -> Values:
    config = ConfigFile.from_file(io.BytesIO(text.encode()), expand_includes=False)
    found: Values = {}
    for section in config.sections():
        parts: Sequence[str] = [part.decode() for part in section]
        for key, value in config.items(section):
            name = parts[0].lower(), "".join(parts[1:]), key.decode().lower()
            found.setdefault(name, []).append(value.decode())
    return found


@given(FILES)
def test_both_parsers_read_the_same(text: str) -> None:
    assert theirs(text) == ours(text)


@given(st.lists(st.tuples(NAMES, SUBSECTIONS, NAMES, st.text(LETTERS, max_size=9)), max_size=6))
def test_what_dulwich_writes_we_read(rows: list[tuple[str, str, str, str]]) -> None:
    config = ConfigFile()
    for section, subsection, key, value in rows:
        config.add((section.encode(), subsection.encode()), key.encode(), value.encode())
    file = io.BytesIO()
    config.write_to_file(file)
    text = file.getvalue().decode()
    assert theirs(text) == ours(text)


@given(FILES, st.integers(min_value=0))
def test_a_mistake_anywhere_is_found_on_its_own_line(text: str, where: int) -> None:
    lines = text.split("\n")
    at = where % len(lines)
    if at and lines[at - 1].endswith("\\"):  # it would be part of that line
        return
    lines.insert(at, "= broken")
    problems: list[SupervisorError] = []
    list(parse("\n".join(lines), "test.gcfg", problems))
    places = [problem.message.split(": ")[0] for problem in problems]
    assert f"test.gcfg:{at + 1}:1" in places
