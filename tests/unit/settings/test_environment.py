"""SUPERVISOR_SECTION_KEY: every key of every section, and which value wins."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.settings import load, parse, values
from supervisor.settings.environment import override, variable
from supervisor.settings.gcfg import Entry
from supervisor.settings.keys import Key, key, keys_of
from supervisor.settings.sections import SECTIONS, Mount


@dataclasses.dataclass(frozen=True)
class Vault:
    section: ClassVar[str] = "Vault"
    password: str = key("Password", values.text, "", secret=True)


def overridden(text: str, **environ: str) -> list[tuple[str, str, str, str]]:
    entries = override(list(parse(text, "test.gcfg")), environ, [*SECTIONS, Vault])
    return [(entry.section, entry.subsection, entry.key, entry.value) for entry in entries]


CORE = [(kind, one) for kind in SECTIONS if kind is not Mount for one in keys_of(kind).values()]


@pytest.mark.parametrize(("kind", "one"), CORE, ids=lambda x: getattr(x, "name", ""))
def test_every_key_of_the_core_has_its_variable(kind: type[Vault], one: Key) -> None:
    name = variable(kind.section, one.name)
    assert [(kind.section, "", one.name, "x")] == overridden("", **{name: "x"})


def test_underscores_within_a_key_do_not_matter() -> None:
    assert [("Server", "", "DataDir", "/x")] == overridden("", SUPERVISOR_SERVER_DATA_DIR="/x")


def test_a_section_with_a_name_is_found_by_it() -> None:
    text = '[Mount "my fonts"]\nPath = /a\n[Mount "fonts"]\nPath = /b\n'
    assert [("Mount", "fonts", "Path", "/b"), ("Mount", "my fonts", "Path", "/x")] == overridden(
        text, SUPERVISOR_MOUNT_MY_FONTS_PATH="/x"
    )


def test_a_section_with_a_name_that_the_file_does_not_have_is_made() -> None:
    assert [("Mount", "data", "Path", "/x")] == overridden("", SUPERVISOR_MOUNT_DATA_PATH="/x")


def test_a_section_of_a_plugin_is_written_as_the_file_has_it() -> None:
    text = '[Repository "CRAN"]\nUrl = a\n[Big-Moon]\nPhase = 1\n'
    found = overridden(text, SUPERVISOR_REPOSITORY_CRAN_URL="b", SUPERVISOR_BIG_MOON_PHASE="2")
    assert [("Big-Moon", "", "phase", "2"), ("Repository", "CRAN", "url", "b")] == sorted(found)


def test_a_key_that_may_be_repeated_takes_one_value_a_line() -> None:
    text = "[HTTP]\nListen = :1\n"
    assert [("HTTP", "", "Listen", ":2"), ("HTTP", "", "Listen", ":3")] == overridden(
        text, SUPERVISOR_HTTP_LISTEN=":2\n:3\n"
    )


def test_an_empty_variable_gives_the_default_back() -> None:
    assert [("HTTP", "", "Listen", "")] == overridden(
        "[HTTP]\nListen = :1\n", SUPERVISOR_HTTP_LISTEN=""
    )


def test_an_alias_overrides_what_it_means() -> None:
    assert [("R", "", "Executable", "/opt/R/4.2.2/bin/R")] == overridden(
        "[R]\nExecutable = /a\n", SUPERVISOR_SERVER_RVERSION="/opt/R/4.2.2"
    )


def test_a_secret_and_its_file_override_one_another() -> None:
    in_file, as_text = "[Vault]\nPasswordFile = /a\n", "[Vault]\nPassword = a\n"
    assert [("Vault", "", "Password", "b")] == overridden(in_file, SUPERVISOR_VAULT_PASSWORD="b")
    assert [("Vault", "", "PasswordFile", "/b")] == overridden(
        as_text, SUPERVISOR_VAULT_PASSWORD_FILE="/b"
    )


def test_where_a_value_comes_from_is_the_variable() -> None:
    [entry] = override([], {"SUPERVISOR_HTTP_LISTEN": ":1"}, SECTIONS)
    assert "the environment variable SUPERVISOR_HTTP_LISTEN" == entry.place


@pytest.mark.parametrize(
    "name",
    ["SUPERVISOR_SOCKET", "SUPERVISOR_", "SUPERVISOR", "SUPERVISOR__X", "SUPERVISOR_SERVER_URL"],
)
def test_other_variables_are_none_of_ours(name: str) -> None:
    assert [] == overridden("", **{name: "x"})


def test_a_variable_that_nobody_knows_is_a_warning(tmp_path: Path) -> None:
    configuration = load(environ={"SUPERVISOR_SERVER_DATADIRR": "/x", "HOME": "/nowhere"}, uid=1)
    said = "SUPERVISOR_SERVER_DATADIRR: [Server] has no key datadirr; did you mean DataDir?"
    assert [f"the environment variable {said}"] == list(configuration.warnings)


@given(
    st.dictionaries(st.text("SUPERVIO_MNTPAHX", max_size=24).map("SUPERVISOR_{}".format), st.text())
)
def test_no_environment_breaks_the_reading(environ: dict[str, str]) -> None:
    for entry in override([], environ, SECTIONS):
        assert isinstance(entry, Entry)
        assert entry.section
        assert entry.key
