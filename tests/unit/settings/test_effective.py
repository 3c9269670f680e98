"""What counts and where it comes from; what a reload of the file changes, and what it must not."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.settings import Configuration, Entry, configure, parse, values
from supervisor.settings.effective import Effective, changed, duration, effective, merge
from supervisor.settings.keys import CONFIG_RELOAD, RELOAD, RESTART, key
from supervisor.settings.sections import SECTIONS


@dataclasses.dataclass(frozen=True)
class Vault:
    section: ClassVar[str] = "Vault"
    password: str = key("Password", values.text, "", secret=True)
    wait: float = key("Wait", values.duration, 90.0, reloadable=True)
    door: tuple[str, ...] = key("Door", values.text, (), multi=True)


def entries(text: str) -> list[Entry]:
    return list(parse(text, "test.gcfg"))


def row(text: str, name: str) -> Effective:
    [found] = [
        one
        for one in effective(entries(text), [*SECTIONS, Vault])
        if f"{one.section}.{one.key}" == name
    ]
    return found


def test_a_key_that_nobody_set_has_its_default() -> None:
    found = row("", "Vault.Wait")
    assert (("1m30s",), "default", CONFIG_RELOAD) == (found.texts, found.origin, found.change)


def test_a_key_that_was_set_says_where() -> None:
    found = row("[vault]\nwait = 1s\nWait = 2s\n", "Vault.Wait")
    assert (("2s",), "test.gcfg:3") == (found.texts, found.origin)


def test_all_values_of_a_key_that_may_be_repeated_are_there() -> None:
    assert ("a", "b") == row("[Vault]\nDoor = a\nDoor =\nDoor = b\n", "Vault.Door").texts


def test_a_section_with_a_name_has_it_in_its_header() -> None:
    assert ("/f",) == row('[Mount "fonts"]\nPath = /f\n', 'Mount "fonts".Path').texts


def test_a_secret_is_not_shown() -> None:
    assert ["(secret)"] == row("[Vault]\nPassword = x\n", "Vault.Password").as_json()["values"]
    assert [] == row("", "Vault.Password").as_json()["values"]


@pytest.mark.parametrize("name", ["Token", "ApiKey", "DbPassword", "ClientSecret", "URL"])
def test_what_nobody_declares_and_sounds_like_a_secret_is_not_shown(name: str) -> None:
    found = row(f"[Moon]\n{name} = hunter2\n", f"Moon.{name}")
    assert "hunter2" not in str(found.as_json())


def test_what_changed_is_told_by_meaning_not_by_spelling() -> None:
    before = entries("[Vault]\nWait = 60s\nDoor = a\n")
    assert [] == changed(before, entries("[Vault]\nwait = 1m\nDoor = a\n"), [Vault])
    after = entries("[Vault]\nWait = 90s\nDoor = b\nDoor = a\n[Moon]\nX = 1\n")
    assert [("Wait", CONFIG_RELOAD), ("Door", RELOAD), ("X", RELOAD)] == [
        (one.key, one.change) for one in changed(before, after, [Vault])
    ]
    assert ["X"] == [one.key for one in changed(after, after[:-1], [Vault])]


def test_data_dir_needs_a_restart() -> None:
    [one] = changed([], entries("[Server]\nDataDir = /x\n"), SECTIONS)
    assert RESTART == one.change


def test_a_reload_brings_what_is_reloadable_and_keeps_the_rest() -> None:
    before = entries("[Vault]\nWait = 1s\nDoor = a\nPassword = x\n")
    after = entries("\n[Vault]\nWait = 2s\nDoor = b\nPassword = x\n[Moon]\nX = 1\n")
    merged = merge(before, after, [Vault])

    assert {"Wait": "2s", "Door": "a", "Password": "x"} == {e.key: e.value for e in merged}
    assert {"Wait": 3, "Door": 3, "Password": 5} == {e.key: e.line for e in merged}


def test_a_key_that_is_gone_from_the_file_is_its_default_again() -> None:
    merged = merge(entries("[Vault]\nWait = 1s\nDoor = a\n"), [], [Vault])
    assert ["Door"] == [entry.key for entry in merged]


SOME = st.lists(
    st.sampled_from(
        [
            "[Scheduler]\nIdleTimeout = 1m\n", "[Scheduler]\nIdleTimeout = 60s\n",
            "[Scheduler]\nMinProcesses = 1\n", "[Server]\nAddress = a\n", "[Server]\nAddress = b\n",
            "[HTTP]\nListen = 127.0.0.1:1\n", "[HTTP]\nListen = 127.0.0.1:2\n", "[X]\ny = 1\n",
            '[Mount "a"]\nPath = /a\n', "[Applications]\nUidFirst = 7\n", "[X]\ny = 2\n",
        ]
    ),
    max_size=8,
).map("".join)  # fmt: skip


@given(SOME, SOME)
def test_after_a_reload_only_what_is_reloadable_is_new_and_all_of_it(old: str, new: str) -> None:
    before, after = entries(old), entries(new)
    merged = merge(before, after, SECTIONS)

    waits = {one.change for one in changed(merged, after, SECTIONS)}
    done = {one.change for one in changed(before, merged, SECTIONS)}
    assert CONFIG_RELOAD not in waits
    assert done <= {CONFIG_RELOAD}
    assert configure(after).scheduler == configure(merged).scheduler
    assert configure(before).server.address == configure(merged).server.address


def test_the_defaults_are_those_of_the_sections() -> None:
    rows = effective([], SECTIONS)
    text = "".join(f"[{one.section}]\n{one.key} = {value}\n" for one in rows for value in one.texts)
    configuration = configure(entries(text))
    default = Configuration()
    for field in ("server", "http", "scheduler", "logging", "privileged", "jobs", "housekeeping"):
        assert getattr(default, field) == getattr(configuration, field)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0s"), (0.5, "500ms"), (1.5, "1.5s"), (5400, "1h30m"), (2592000, "30d"),
        (90061, "1d1h1m1s"),
    ],
)  # fmt: skip
def test_a_duration_is_written_as_people_write_it(seconds: float, text: str) -> None:
    assert text == duration(seconds)
    assert seconds == values.duration(text)
