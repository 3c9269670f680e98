"""The core is killed: no session closes, no process is touched, nothing starts twice."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import trio

from tests.support.server import LiveServer, kill
from tests.support.sessions import open_sessions
from tests.system.conftest import EXAMPLES

pytestmark = pytest.mark.system
ROUNDS = 20


def _pids(server: LiveServer) -> dict[str, int]:
    return {row["id"]: row["pid"] for row in server.json("ps")}


def _kill_core(server: LiveServer) -> None:
    old = server.core
    kill(old)
    server.until(lambda: server.core not in (None, old), 10, "a new core")


def _core_answers(server: LiveServer) -> None:
    server.until(
        lambda: server.supervisor("ps", check=False).returncode == 0, 5.0, "ps answers within 5 s"
    )


async def test_no_session_closes_and_nothing_starts_twice_when_the_core_is_killed_twenty_times(
    server: LiveServer, r_app: str, python_app: str
) -> None:
    wanted = [(server.url + r_app, "double"), (server.url + python_app, "total")] * 5
    async with open_sessions(wanted) as sessions:
        before = await trio.to_thread.run_sync(_pids, server)
        assert len(before) == 2
        strangers = {process.pid for process in server.strangers()}
        for number in range(ROUNDS):
            killed = time.monotonic()
            await trio.to_thread.run_sync(_kill_core, server)
            async with trio.open_nursery() as nursery:
                for one in sessions:  # they go on while there is no core, and while it adopts
                    nursery.start_soon(one.answers, 8 + number)
                await trio.to_thread.run_sync(_core_answers, server)
                assert await trio.to_thread.run_sync(_pids, server) == before
                waited = time.monotonic() - killed
            assert waited < 5.0
            assert all(one.session.is_open for one in sessions)
            print(f"round {number}: the same pids after {waited:.1f} s")
        assert {process.pid for process in server.strangers()} == strangers


@pytest.mark.parametrize("pause", [0.05, 0.3, 0.6, 1.0])
def test_a_core_killed_during_a_deployment_finishes_it_with_one_process_and_no_stray(
    server: LiveServer, pause: float
) -> None:
    name = f"interrupted-{int(pause * 100)}"
    deploying = subprocess.Popen(
        [
            Path(sys.executable).parent / "supervisor",
            *("deploy", EXAMPLES / "shiny-r-hello", "--name", name),
        ],
        env={**os.environ, "SUPERVISOR_SOCKET": str(server.run_dir / "core.sock")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    server.until(lambda: bool(server.rows("list", name=name)), 20)
    time.sleep(pause)
    _kill_core(server)
    printed, _ = deploying.communicate(timeout=60)
    _core_answers(server)
    server.until(
        lambda: server.row("list", name=name)["supervisor"]["state"] in ("running", "sleeping"),
        30,
        f"{name} is deployed; the command said {printed.decode()}",
    )
    # What the dead core had started serves until the deployment, begun anew, has its own process.
    server.until(lambda: len(_runs(server, name)) <= 1, 30, f"{name} has one process")
    _every_process_belongs_to_a_listed_run(server)


def _runs(server: LiveServer, name: str) -> list[str]:
    return [row["id"] for row in server.json("ps") if row["content"]["name"] == name]


def _every_process_belongs_to_a_listed_run(server: LiveServer) -> None:
    listed = {row["pid"] for row in server.json("ps")}
    for process in server.strangers():
        family = {process.pid, *(parent.pid for parent in process.parents())}
        assert family & listed, f"{process} belongs to no run of {listed}"
    assert all(psutil.pid_exists(pid) for pid in listed)
