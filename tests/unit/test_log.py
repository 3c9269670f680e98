"""The service log: one event is one line, whatever users put into it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.log import Log


class Lines:
    def __init__(self) -> None:
        self.read, self.write = os.pipe()

    def take(self) -> str:
        return os.read(self.read, 1 << 16).decode("utf-8")


@pytest.fixture
def lines() -> Iterator[Lines]:
    made = Lines()
    yield made
    os.close(made.read)
    os.close(made.write)


def test_an_event_is_a_line_of_text(lines: Lines) -> None:
    Log("core", fd=lines.write).info("run-ready", run="01k", seconds=1.5, reason="two words")
    pattern = r'\S+Z INFO core run-ready run=01k seconds=1\.5 reason="two words"\n'
    assert re.fullmatch(pattern, lines.take())


def test_an_event_is_an_object_of_json(lines: Lines) -> None:
    Log("core", form="JSON", fd=lines.write).warning("stray-stopped", run="01k", path=object)
    record = json.loads(lines.take())
    assert ("warning", "core", "stray-stopped", "01k") == tuple(
        record[name] for name in ("level", "process", "event", "run")
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["time"])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(), form=st.sampled_from(["TEXT", "JSON"]))
def test_text_of_users_never_makes_a_second_line(lines: Lines, text: str, form: str) -> None:
    Log("core", form=form, fd=lines.write).info("x", reason=text)
    line = lines.take()
    assert 1 == line.count("\n")
    assert line.endswith("\n")
    assert "\r" not in line
    assert "\x1b" not in line


def test_a_lone_surrogate_does_not_break_the_log(lines: Lines) -> None:
    Log("core", fd=lines.write).info("x", reason="\ud800")
    assert "\\ud800" in lines.take()


def test_a_level_hides_what_is_below_it(lines: Lines) -> None:
    log = Log("core", level="warning", fd=lines.write)
    log.debug("a")
    log.info("b")
    log.warning("c")
    log.error("d")
    assert ["c", "d"] == [line.split()[3] for line in lines.take().splitlines()]


def test_an_error_has_its_traceback_in_one_field(lines: Lines) -> None:
    log: Any = Log("core", form="JSON", fd=lines.write)
    try:
        raise KeyError("missing")
    except KeyError as error:
        log.error("it-broke", exc=error, run="01k")
    record = json.loads(lines.take())
    assert "KeyError: 'missing'" == record["error"]
    assert "test_log.py" in record["traceback"]


def test_a_log_whose_reader_is_gone_raises_nothing() -> None:
    read, write = os.pipe()
    os.close(read)
    Log("core", fd=write).info("x")
    os.close(write)
