"""Helper and core are killed together while a process is starting: swept, and tried again once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.server import LiveServer, gone, kill, name_of
from tests.system.conftest import BAD

pytestmark = pytest.mark.system


def _names(directory: Path) -> set[str]:
    return {entry.name for entry in directory.iterdir()}


def test_what_was_starting_when_both_were_killed_is_swept_and_started_once_more(
    server: LiveServer,
) -> None:
    name = "both-killed"
    program = str(Path(sys.executable).parent / "supervisor")
    command = [program, "deploy", str(BAD / "python-slow-start"), "--name", name]
    deploying = subprocess.Popen(
        command,
        env={**os.environ, "SUPERVISOR_SOCKET": str(server.run_dir / "core.sock")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    server.until(lambda: "run-probing" in server.log(), 30, "it starts")
    begun = [process.pid for process in server.strangers()]
    core, helper = server.core, server.helper
    for pid in (helper, core):
        kill(pid)
    assert begun
    assert gone(begun, 2.0)  # nothing outlives its helper
    server.until(lambda: server.core not in (None, core), 10, "a new core")
    server.until(lambda: server.helper not in (None, helper), 10, "a new helper")
    printed, _ = deploying.communicate(timeout=60)
    server.until(
        lambda: server.supervisor("ps", check=False).returncode == 0, 10, "the core answers"
    )
    server.until(
        lambda: server.row("list", name=name)["supervisor"]["state"] in ("running", "sleeping"),
        40,
        f"{name} is deployed; the command said {printed.decode()}",
    )
    runs = {row["id"] for row in server.json("ps")}
    server.until(lambda: _names(server.data_dir / "tmp") <= runs, 5, "swept directories")
    server.until(lambda: _names(server.run_dir / "w") <= runs, 5, "swept sockets")
    inits = [process for process in server.strangers() if name_of(process) == "content-init"]
    assert len(runs) == len(inits)
    assert 2 == server.log().count("run-probing")
