"""`supervisor config check` and `show --config`: of a file, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supervisor.cli import root

# The configuration of the reference system's container article, which people bring along.
CONTAINER = """\
[Server]
SenderEmail =
Address =
DataDir = /data
[Licensing]
LicenseType = remote
[Database]
Provider = postgres
[Postgres]
URL = "postgres://"
[HTTP]
Listen = :3939
[Authentication]
Provider = password
"""
Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "supervisor.gcfg"


@pytest.fixture
def run(file: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(text: str, *arguments: str) -> tuple[int, Any]:
        file.write_text(text)
        status = root.run(["config", *arguments, "--json"])
        out = capsys.readouterr()
        return status, json.loads(out.out or out.err)

    return run


def said(run: Run, file: Path, text: str) -> tuple[int, list[str], list[str]]:
    """Give status, problems and warnings of a check, without the name of the file."""
    status, found = run(text, "check", str(file))
    problems = [f"{one['error']} [{one['code']}]" for one in found["problems"]]
    warnings = found["warnings"]
    return (
        status,
        [text.replace(f"{file}:", "") for text in problems],
        [text.replace(f"{file}:", "") for text in warnings],
    )


def test_a_file_that_holds_is_status_0(run: Run, file: Path) -> None:
    assert (0, [], []) == said(run, file, "[Scheduler]\nIdleTimeout = 5s\n")


def test_every_gap_of_the_container_articles_file_is_named(run: Run, file: Path) -> None:
    status, problems, warnings = said(run, file, CONTAINER)
    assert 78 == status
    assert [
        "10:7: URL: it names no host [database-url-no-host]",
        "HTTP.Listen = :3939 is open to other machines, and no authenticator named 'password' is"
        " installed [settings-invalid]",
    ] == problems
    assert [
        "2: SenderEmail is empty: no e-mail can be sent",
        "3: Address is empty: links are built from the first address of HTTP.Listen, which others"
        " may not be able to reach",
        "6: LicenseType is accepted: no licence is needed",
    ] == warnings


def test_all_mistakes_are_told_at_once_those_of_plugins_too(run: Run, file: Path) -> None:
    text = (
        "k = 1\n[Server]\nBeatTimeout = 5\nDatDir = /x\n[Scheduler\nx = 1\n[Python]\n"
        "Executable = python3\n[Pithon]\nExecutable = /x\n"
    )
    status, problems, warnings = said(run, file, text)
    assert 78 == status
    assert ["1:1", "5:1", "3:15", "8:14"] == [problem.split(": ")[0] for problem in problems]
    assert [
        "4: [Server] has no key DatDir; did you mean DataDir?",
        "10: no loaded plugin has a section [Pithon]; did you mean [Python]?",
    ] == warnings


def test_both_ways_to_name_an_interpreter_of_r_work_several_times(run: Run, file: Path) -> None:
    text = (
        "[Server]\nRVersion = /opt/R/4.1.3\nRVersion = /opt/R/4.2.2/\n"
        "[R]\nExecutable = /usr/local/bin/R\nExecutable = /srv/R\n"
    )
    status, rows = run(text, "show", "R.Executable", "--config", str(file))
    assert 0 == status
    [row] = rows
    assert [
        "/opt/R/4.1.3/bin/R", "/opt/R/4.2.2/bin/R", "/usr/local/bin/R", "/srv/R",
    ] == row["values"]  # fmt: skip
    assert (0, [], []) == said(run, file, text)


def test_what_is_shown_says_where_it_comes_from(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUPERVISOR_SCHEDULER_MAXPROCESSES", "7")
    text = "[Scheduler]\nIdleTimeout = 5s\nMaxProcesses = 4\n"
    _, rows = run(text, "show", "scheduler", "--set", "--config", str(file))
    assert [
        (["7"], "the environment variable SUPERVISOR_SCHEDULER_MAXPROCESSES", "config reload"),
        (["5s"], f"{file}:2", "config reload"),
    ] == [(row["values"], row["origin"], row["change"]) for row in rows]


def test_a_file_that_is_not_there_is_refused(run: Run, file: Path) -> None:
    status, error = run("", "check", f"{file}.missing")
    assert (78, "settings-invalid") == (status, error["code"])


def test_a_person_sees_the_line_and_what_to_write(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text("[Server]\n  BeatTimeout = 5 ; soon\n")
    assert 78 == root.run(["config", "check", str(file)])
    out = capsys.readouterr()
    assert [
        f"error    {file}:2:17: BeatTimeout: 5 without a unit means nanoseconds; write 5s for"
        " seconds or 5m for minutes [settings-invalid]",
        "         The line is: BeatTimeout = 5 ; soon",
    ] == out.out.splitlines()
    assert f"The server would not start with {file}.\n" == out.err
