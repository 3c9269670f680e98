"""What the server's own processes get of a busy processor: far more than all contents together.

They compute little, but a visitor waits while they wait for a processor. Among equals that wait was
seen to last a third of a second, with 32 times the weight some milliseconds (docs/benchmarks.md).

v2: the group into which the server's processes moved where one is delegated to us (cgroups.py). v1:
a group of their own beside that of all contents, unless a service manager has put them into one.
"""

from __future__ import annotations

import contextlib
import os

from supervisor.sampling import children
from supervisor_unshare.limits.cgroups import SERVER, Hierarchies, read, write

_WEIGHTS = {"cpu.weight": "1600", "cpu.shares": "16384"}  # contents have a 32nd: totals.py


def prefer(found: Hierarchies, parent: int) -> str:
    """Give the server's processes more weight than all contents; give what went wrong, in words.

    parent: the pid of the one whose children they are, 0 for none. Those that it starts later come
    into the same group by birth.
    """
    contents = found.controllers.get("cpu")
    if contents is None:
        return ""
    try:
        if "cpu" in found.v2:
            group = f"{os.path.dirname(contents)}/{SERVER}"
            if os.path.isdir(group):
                write(f"{group}/cpu.weight", _WEIGHTS["cpu.weight"])
        elif parent and _holds(os.path.dirname(contents), parent):
            group = _beside(contents)
            os.makedirs(group, exist_ok=True)
            write(f"{group}/cpu.shares", _WEIGHTS["cpu.shares"])
            write(f"{group}/cgroup.procs", str(parent))
            for pid in children(parent):
                with contextlib.suppress(ProcessLookupError):
                    write(f"{group}/cgroup.procs", str(pid))
    except OSError as error:  # such as real-time processes, which not every group may hold
        return f"{error.filename or 'cgroup.procs'}: {error.strerror}"
    return ""


def keep() -> None:
    """Keep a priority that the server was given: what this process starts has an ordinary one.

    Content with a real-time priority would hold up the machine, and no group of v1 would take it.
    """
    policy = os.sched_getscheduler(0) | os.SCHED_RESET_ON_FORK
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, policy, os.sched_getparam(0))


def leave(found: Hierarchies) -> None:
    """Put everybody back to where they came from, and remove the group that was made."""
    contents = found.controllers.get("cpu")
    if contents is None or "cpu" in found.v2:
        return
    group = _beside(contents)
    with contextlib.suppress(OSError):
        for pid in read(f"{group}/cgroup.procs").split():
            with contextlib.suppress(ProcessLookupError):
                write(f"{os.path.dirname(group)}/cgroup.procs", pid)
        os.rmdir(group)


def _beside(contents: str) -> str:
    return f"{contents}-{SERVER}"


def _holds(group: str, pid: int) -> bool:
    return str(pid) in read(f"{group}/cgroup.procs").split()
