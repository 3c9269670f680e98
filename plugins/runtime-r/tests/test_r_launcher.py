"""The programs that run inside the content's R keep to old R."""

from __future__ import annotations

import re
import subprocess
from importlib.resources import files
from typing import Any

import pytest

PROGRAMS = ("launch.R", "probe.R")

# Each is newer than R 3.1 and would pass unnoticed on a new R.
NEWER = re.compile(
    r"\|>|(?<!\\)\\\(|\b[rR][\"']+\(|%\|\|%|"
    r"\b(?:startsWith|endsWith|trimws|lengths|strrep|isFALSE|dir\.exists|validUTF8|deparse1|"
    r"str2lang|str2expression|isa|globalCallingHandlers|tryInvokeRestart|allowInterrupts|"
    r"file\.size|file\.mtime|hasName)\s*\("
)


@pytest.mark.parametrize("newer", ["x |> f()", "\\(x) x", 'r"(raw)"', "trimws(x)", "a %||% b"])
def test_what_is_newer_is_seen(newer: str) -> None:
    assert NEWER.search(newer)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_uses_no_syntax_or_function_newer_than_r_3_1(name: str) -> None:
    assert [] == NEWER.findall(files("supervisor_r").joinpath(name).read_text("utf-8"))


@pytest.mark.system
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_valid_r(needs: Any, name: str) -> None:
    rscript = needs.r()
    source = files("supervisor_r").joinpath(name).read_text("utf-8")
    done = subprocess.run(
        [rscript, "--vanilla", "-e", "invisible(parse(file('stdin')))"],
        input=source.encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (0, b"") == (done.returncode, done.stderr)
