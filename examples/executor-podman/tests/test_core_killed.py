"""What runs outlives a core that is killed, and nothing else of that core does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

import trio
from supervisor_podman.executor import PodmanExecutor

from supervisor import (
    Cause,
    Executor,
    Exit,
    Job,
    Limits,
    Observation,
    Plan,
    Purpose,
    Receipt,
    Running,
    from_json,
    layout,
    new_run_id,
    to_json,
    unixsocket,
)
from supervisor.testing import programs, serving

HERE = Path(__file__).parent
UID = 1234 if os.geteuid() == 0 else 0  # others than itself only root can be


def job() -> Job:
    plan = Plan(
        argv=programs.SERVES.command(shell="/bin/sh", python="/usr/bin/python3"),
        env={"SUPERVISOR_LISTEN": layout.LISTEN_AT},
        workdir="/tmp",
    )
    return Job(
        run=new_run_id(),
        content=1,  # type: ignore[arg-type]
        purpose=Purpose.SERVE,
        plan=plan,
        uid=UID,
        gid=UID,
        limits=Limits(files=50),
    )


def killed_core(storage: Any, places: dict[str, str], job: Job) -> Receipt:
    """Start a job by a core of its own, and kill that with everything that ends with it."""
    given = {"settings": to_json(storage.settings), "places": places, "job": to_json(job)}
    core = subprocess.Popen(
        [sys.executable, str(HERE / "core.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    assert core.stdin is not None
    assert core.stdout is not None
    with core:
        core.stdin.write(json.dumps(given).encode())
        core.stdin.close()
        receipt = from_json(Receipt, json.loads(core.stdout.readline()))
        core.kill()
    return receipt


async def first(executor: Executor, receipt: Receipt) -> Observation:
    async with aclosing(executor.watch(receipt)) as observations:
        async for seen in observations:
            return seen
    raise AssertionError("watch ended without a word")


async def answer(running: Running) -> bytes:
    """Ask what serves for a page, as the gateway reaches it."""
    assert running.endpoint is not None
    directory = unixsocket.open_directory(running.endpoint.directory)  # type: ignore[union-attr]
    while True:
        try:
            sock = unixsocket.connect(directory, layout.SOCKET_NAME, UID or os.geteuid())
            break
        except (FileNotFoundError, ConnectionRefusedError):
            await trio.sleep(0.05)
    os.close(directory)
    with trio.socket.from_stdlib_socket(sock) as stream:
        await stream.send(b"GET / HTTP/1.0\r\n\r\n")
        return await stream.recv(100)


async def test_a_container_outlives_a_killed_core_and_is_adopted(
    storage: Any, short_path: Path
) -> None:
    places = {"data_dir": f"{short_path}/data", "directory": f"{short_path}/runs"}
    receipt = await trio.to_thread.run_sync(killed_core, storage, places, job())
    with trio.fail_after(60):
        while followers(storage.top):  # noqa: ASYNC110  # the events were followed by a child of it
            await trio.sleep(0.01)
        settings, data_dir, directory = storage.settings, places["data_dir"], places["directory"]
        made = PodmanExecutor(settings=settings, data_dir=data_dir, directory=directory)
        async with serving(made) as executor:
            assert [receipt] == [*await executor.list()]
            running = await first(executor, receipt)
            assert isinstance(running, Running)
            assert b"HTTP/1.1 200 OK" in await answer(running)
            await executor.stop(receipt, 0.0)
            assert Exit(signal=9, cause=Cause.STOPPED) == await first(executor, receipt)


def followers(top: str) -> list[str]:
    """The processes that follow this podman's events."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text(errors="replace").split("\0")
        except OSError:
            continue
        if f"--root={top}/root" in words and "events" in words:
            found.append(" ".join(words))
    return found
