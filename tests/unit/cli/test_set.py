"""Words of `supervisor set` to fields, and fields to words."""

from __future__ import annotations

import re

import pytest

from supervisor.api.adjust import ALL
from supervisor.cli.set import KEYS, difference, read_changes, set_command, written
from supervisor.cli.show import duration
from supervisor.errors import SupervisorError


def test_everything_that_the_api_can_set_has_a_key() -> None:
    assert set(KEYS) == ALL


def test_help_names_every_key() -> None:
    told = set_command.help or ""
    assert list(KEYS) == re.findall(r"[a-z_]+", told.partition("Keys:")[2])


def test_words_become_fields() -> None:
    words = [
        "max_processes=5",
        "idle-timeout=1h30m",
        "LoadFactor=0.25",
        "title=a=b",
        "read_timeout=default",
    ]
    assert {
        "max_processes": 5,
        "idle_timeout": 5400.0,
        "load_factor": 0.25,
        "title": "a=b",
        "read_timeout": None,
    } == read_changes(words)


@pytest.mark.parametrize("number", ["5", "600", "2592001", " 1000000000"])
def test_a_duration_without_a_unit_is_refused(number: str) -> None:
    with pytest.raises(SupervisorError, match="has no unit") as refused:
        read_changes([f"idle_timeout={number}"])
    assert f"Write {number.strip()}s for seconds" in refused.value.hint


@pytest.mark.parametrize(
    ("was", "own", "value", "expected"),
    [
        (None, 3, 3, "max_processes 3, this content's own now"),
        (3, None, 3, "max_processes 3, the server's own now"),
        (None, 5, 5, "max_processes 3 → 5"),
    ],
)
def test_a_change_tells_the_values_or_whose_the_same_one_is(
    was: int | None, own: int | None, value: int, expected: str
) -> None:
    before, after = {"value": 3, "own": was}, {"value": value, "own": own}
    told = difference("sales", {"max_processes": before}, {"max_processes": after})
    assert f"sales: {expected}" == told


@pytest.mark.parametrize(
    "word", ["idle_timeout=0", "drain_notice=off", "executor=x", "title=default", "init_timeout=2d"]
)
def test_what_is_shown_can_be_set_again(word: str) -> None:
    ((key, value),) = read_changes([word]).items()
    assert {key: value} == read_changes([f"{key}={written(key, value) or 'default'}"])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0s"),
        (0.5, "500ms"),
        (15.0, "15s"),
        (90, "1m30s"),
        (3600.0, "1h"),
        (2_592_000, "30d"),
        (1.5, "1.5s"),
    ],
)
def test_durations_are_written_as_the_settings_file_has_them(seconds: float, expected: str) -> None:
    assert expected == duration(seconds)
