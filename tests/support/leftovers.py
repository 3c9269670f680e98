"""What a server must never leave behind, whatever was done to it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psutil
from supervisor_unshare.limits.cgroups import directory_name

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


def api(server: LiveServer, path: str) -> Any:
    """GET from the API of a server of root's; the command line takes 40 times as long to start."""
    transport = httpx2.HTTPTransport(uds=str(server.run_dir / "core.sock"))
    with httpx2.Client(transport=transport, base_url="http://supervisor/__api__") as client:
        return client.get(path).raise_for_status().json()


def _left(server: LiveServer) -> Iterator[str]:
    runs = api(server, "/v1/supervisor/runs?ended=1")
    living = {run["id"]: run for run in runs if run["pid"]}
    pids = {run["pid"] for run in living.values()}
    for process in server.strangers():
        if not pids & {process.pid, *_ancestors(process)}:
            yield f"process {process}"
    for folder in (server.run_dir / "w", _data_dir(server) / "tmp"):
        yield from (str(path) for path in folder.iterdir() if path.name not in living)
    yield from (str(path) for path in (_data_dir(server) / "uploads").iterdir())
    yield from _deployments(server, list(living.values()))
    for group in groups_of(server):
        found = pids_in(group)
        if not (found & _trees(pids) or found & _waiting(server)):
            yield f"control group {group}"


def groups_of(server: LiveServer) -> list[Path]:
    """The control groups of the server's runs, and of what waits to become one."""
    name = directory_name(str(server.run_dir))
    return [
        Path(top, group)
        for top, groups, _ in os.walk("/sys/fs/cgroup")  # others' may go meanwhile
        if os.path.basename(top) == name
        for group in groups
    ]


def pids_in(group: Path) -> set[int]:
    """The processes in a control group; none once it is gone."""
    try:
        return set(map(int, (group / "cgroup.procs").read_text().split()))
    except OSError:
        return set()


def _trees(roots: set[int]) -> set[int]:
    found = set(roots)
    for root in roots:
        try:
            found |= {child.pid for child in psutil.Process(root).children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    return found


def _waiting(server: LiveServer) -> set[int]:
    helper = server.helper
    below = [] if helper is None else psutil.Process(helper).children()
    return {process.pid for process in below} - {one.pid for one in server.strangers()}


def _deployments(server: LiveServer, living: list[dict[str, Any]]) -> Iterator[str]:
    """Directories of deployments that are neither active nor still used by old sessions."""
    contents = {content["id"]: content for content in api(server, "/v1/content")}
    draining = [run["content"]["guid"] for run in living if run["state"] == "draining"]
    for folder in (_data_dir(server) / "apps").iterdir():
        content = contents.get(folder.name, {"guid": "", "bundle_id": None})
        needed = int(content["bundle_id"] is not None) + draining.count(content["guid"])
        found = [str(path) for path in folder.iterdir()]
        if len(found) > needed:
            yield f"deployments: {found}, of which {needed} are needed"


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
