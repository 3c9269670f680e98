from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import SupervisorError
from supervisor.settings import Entry, parse


def entries(text: str) -> list[Entry]:
    return list(parse(text, "test.gcfg"))


def values(text: str) -> list[str]:
    return [entry.value for entry in entries(text)]


@contextmanager
def suppress_refusal() -> Iterator[list[SupervisorError]]:
    refusals: list[SupervisorError] = []
    try:
        yield refusals
    except SupervisorError as error:
        refusals.append(error)


def refusal(text: str) -> SupervisorError:
    with pytest.raises(SupervisorError) as caught:
        entries(text)
    assert "settings-invalid" == caught.value.code
    return caught.value


def test_an_entry_knows_its_section_key_value_and_line() -> None:
    assert [
        Entry(section="HTTP", subsection="", key="Listen", value=":80", file="test.gcfg", line=3),
        Entry(
            section="Mount", subsection="my fonts", key="Path", value="/f", file="test.gcfg", line=5
        ),
    ] == entries('; first\n[HTTP]\nListen = :80\n[Mount "my fonts"]\nPath=/f\n')


def test_a_section_may_come_again_and_a_key_may_repeat() -> None:
    text = "[A]\nk = 1\n[B]\nk = 2\n[A]\nk = 3\nk = 4\n"

    assert [("A", "1"), ("B", "2"), ("A", "3"), ("A", "4")] == [
        (entry.section, entry.value) for entry in entries(text)
    ]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("k = plain words  ", "plain words"),
        ("k =", ""),
        ("k=", ""),
        ("  k\t=\tx", "x"),
        ("k = x ; comment", "x"),
        ("k = x # comment", "x"),
        ("k = ; comment", ""),
        ("k =;comment", ""),
        ("k = http://host/#fragment;x", "http://host/#fragment;x"),
        ('k = "a ; b # c"', "a ; b # c"),
        ('k = "  kept  "', "  kept  "),
        ('k = "kept  "  ', "kept  "),
        (r'k = "say \"hi\"\t\\ \n"', 'say "hi"\t\\ \n'),
        (r"k = a\\b", "a\\b"),
        ('k = one" two "three', "one two three"),
        ('k = ""', ""),
        ("k = one \\\n  two", "one   two"),
        ("k = é€", "é€"),
    ],
)
def test_a_value_is_read_as_it_is_meant(written: str, read: str) -> None:
    assert [read] == values(f"[S]\n{written}\n")


def test_line_ends_of_windows_and_a_byte_order_mark_are_no_part_of_it() -> None:
    assert ["x", "y z"] == values("\ufeff[S]\r\nk = x\r\nl = y \\\r\nz\r\n")


def test_a_continued_line_counts_for_the_lines_after_it() -> None:
    assert [2, 5] == [entry.line for entry in entries("[S]\na = 1 \\\n\\\n2\nb = 3")]


def test_a_comment_that_ends_in_a_backslash_does_not_go_on() -> None:
    assert ["1"] == values("[S]\n; C:\\\nk = 1\n")


def test_a_comment_behind_a_value_does_not_go_on_either() -> None:
    assert ["1", "2", "a\\; x"] == values('[S]\nk = 1 ; C:\\\nl = 2 #\\\nm = "a\\\\; x"\n')


def test_a_mistake_on_a_continued_line_is_shown_where_it_stands() -> None:
    error = refusal("[S]\nk = one \\\n  two\\q\n")

    assert error.message.startswith("test.gcfg:3:6: \\q is not an escape")
    assert "The line is: two\\q" in error.hint


def test_all_mistakes_are_found_where_somebody_collects_them() -> None:
    problems: list[SupervisorError] = []
    text = "k = 1\n[A]\nx = 1\ny\n[B\nz = 2\n[C]\n= 3\nw = 4\n"
    found = list(parse(text, "test.gcfg", problems))

    assert [("A", "1"), ("C", "4")] == [(entry.section, entry.value) for entry in found]
    assert ["1:1", "4:2", "5:1", "8:1"] == [
        problem.message.removeprefix("test.gcfg:").split(": ")[0] for problem in problems
    ]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("k = 1\n", "1:1", "'k' stands before any [Section]"),
        ("[S]\nk\n", "2:2", "'k' lacks its '='"),
        ("[S]\n= 1\n", "2:1", "a key begins with a letter"),
        ("[S\nk = 1\n", "1:1", "this is not a section header"),
        ("[S] k = 1\n", "1:1", "this is not a section header"),
        ("[Mount fonts]\n", "1:1", "this is not a section header"),
        ("[]\n", "1:1", "this is not a section header"),
        ('[S]\nk = "open\n', "2:5", "this quote is never closed"),
        ("[S]\n  k = a\\qb\n", "2:8", "\\q is not an escape"),
        ("[S]\nk = a\\", "2:6", "a backslash at the end is not an escape"),
        ("[S]\nk = a\0b\n", "2:6", "a control character"),
    ],
)
def test_a_mistake_is_shown_with_file_line_and_column(text: str, place: str, said: str) -> None:
    error = refusal(text)

    assert error.message.startswith(f"test.gcfg:{place}: ")
    assert said in error.message
    wrong = text.splitlines()[int(place.split(":")[0]) - 1].strip()
    assert f"The line is: {wrong}" in error.hint


@given(st.text(st.sampled_from('[]"\\;#= \t\n\r\0kSé') | st.characters(codec="utf-8"), max_size=60))
def test_any_text_gives_entries_or_a_refusal_with_its_place(text: str) -> None:
    with suppress_refusal() as refusals:
        assert all(1 <= entry.line <= text.count("\n") + 1 for entry in entries(text))

    assert all(error.message.startswith("test.gcfg:") for error in refusals)
    assert all("settings-invalid" == error.code for error in refusals)


@given(st.text(st.characters(codec="utf-8", min_codepoint=32), max_size=40))
def test_any_printable_text_can_be_written_as_a_quoted_value(text: str) -> None:
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')

    assert [text] == values(f'[S]\nk = "{quoted}"\n')
