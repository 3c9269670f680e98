"""Tables, sizes and ages."""

from __future__ import annotations

import pytest

from supervisor.cli.show import Right, age, printable, size, table


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (None, "-"),
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (1540, "1.5 kB"),
        (9960, "10 kB"),
        (123_456_789, "123 MB"),
        (999_700, "1.0 MB"),
        (5_000_000_000, "5.0 GB"),
        (10**16, "10000 TB"),
    ],
)
def test_sizes_have_two_digits_and_a_unit(count: int | None, expected: str) -> None:
    assert expected == size(count)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, "-"), (-1, "0s"), (59.9, "59s"), (310, "5m10s"), (10_920, "3h02m"), (363_600, "4d05h")],
)
def test_ages_have_their_two_largest_units(seconds: float | None, expected: str) -> None:
    assert expected == age(seconds)


def test_control_characters_become_visible() -> None:
    assert r"a\x1b[2Jb\nc\x9b \u202e" == printable("a\x1b[2Jb\nc\x9b\t\u202e")
    assert "a\nb" == printable("a\nb", lines=True)
    assert "�" in printable("\udcff")


def test_columns_are_aligned_also_with_wide_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    table(("NAME", "N", "SIZE"), [("日本", 1, Right("5 kB")), ("abc\n", 10, Right("-"))])
    assert ["NAME    N  SIZE", "日本    1  5 kB", "abc\\n  10     -"] == (
        capsys.readouterr().out.splitlines()
    )
