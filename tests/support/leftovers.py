"""What a server must never leave behind, whatever was done to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.support.server import LiveServer

SETTLE = 10.0  # seconds for a removal that is under way


def nothing_is_left(server: LiveServer) -> None:
    """Fail where there is a process, socket directory, file or control group that nobody needs.

    What a run that `ps` lists needs may be there, and what is deployed; everything else goes.
    """
    end = time.monotonic() + SETTLE
    while left := sorted(_left(server)):
        assert time.monotonic() < end, f"left behind: {left}\n{server.log()[-4000:]}"
        time.sleep(0.1)


def no_process_is_left(server: LiveServer) -> None:
    """Fail where a process of a server that has ended is still there, or a socket of it."""
    mentioned = str(server.base).encode()
    here = os.getpid()
    left = [
        process
        for process in psutil.process_iter()
        if process.pid != here and mentioned in _command(process.pid)
    ]
    assert left == []
    assert sorted(server.run_dir.glob("*.sock")) == []


def _left(server: LiveServer) -> Iterator[str]:
    everything = server.json("ps", "--all")
    living = {row["id"] for row in everything if row["pid"]}
    pids = {row["pid"] for row in everything if row["pid"]}
    for process in server.strangers():
        if not pids & {process.pid, *_ancestors(process)}:
            yield f"process {process}"
    for folder in (server.run_dir / "w", _data_dir(server) / "tmp"):
        yield from (str(path) for path in folder.iterdir() if path.name not in living)
    yield from (str(path) for path in (_data_dir(server) / "uploads").iterdir())
    yield from _deployments(server)
    ended = {row["id"] for row in everything} - living
    for folder_name, names, _ in os.walk("/sys/fs/cgroup"):
        yield from (f"{folder_name}/{name}" for name in names if name in ended)


def _deployments(server: LiveServer) -> Iterator[str]:
    """Directories of deployments that are neither active nor still used by old sessions."""
    for folder in (_data_dir(server) / "apps").iterdir():
        rows = server.rows("list", id=folder.name)
        active = sum(bool(row["bundle_id"]) for row in rows)
        names = [row["name"] for row in rows]
        old = [
            run for run in server.rows("ps", state="draining") if run["content"]["name"] in names
        ]
        found = [str(path) for path in folder.iterdir()]
        if len(found) > active + len(old):
            yield f"{len(found)} deployments, of which {active} active: {found}"


def _data_dir(server: LiveServer) -> Path:
    """The data directory as the server itself sees it: some tests mount something there."""
    return Path(f"/proc/{server.parent}/root{server.data_dir}")


def _ancestors(process: psutil.Process) -> set[int]:
    try:
        return {parent.pid for parent in process.parents()}
    except psutil.NoSuchProcess:
        return set()


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
