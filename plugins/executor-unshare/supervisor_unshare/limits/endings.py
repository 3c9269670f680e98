"""Why a run has ended: which limit, which refused system calls. Read off the kernel, not guessed.

Whatever is asked of control groups is asked while they are still there, after the last process.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor_unshare.limits.cgroups import Group, counts, number
from supervisor_unshare.linux.filters import name_of

_CLOSE = 1 << 20  # bytes below its limit at which a group counts as having reached it


@dataclass(frozen=True, kw_only=True)
class Hits:
    """What the limits of a run did. kills: of its processes for memory; refused: forks.

    memory, all_memory: the limits of it and of all contents, where they were reached; pids: its
    limit.
    """

    kills: int = 0
    memory: int | None = None
    all_memory: int | None = None
    refused: int = 0
    pids: int | None = None


def hits(group: Group) -> Hits:
    """Look at the groups of a run."""
    kills = group.memory_kills()
    memory = all_memory = None
    if kills and group.memory is not None:
        memory = _reached(group.memory)
        all_memory = None if memory else _reached(os.path.dirname(group.memory))
    refused, pids = 0, None
    if group.pids is not None:
        refused = counts(f"{group.pids}/pids.events").get("max", 0)
        pids = _pids_limit(group.pids)
    return Hits(kills=kills, memory=memory, all_memory=all_memory, refused=refused, pids=pids)


def explain(status: int, found: Hits, facts: Mapping[str, Any]) -> tuple[str, str]:
    """Give the limit that ended a run ("memory", "pids", "tmp" or "") and what to tell people.

    status: the raw wait status; facts: what init has reported.
    """
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "", ""
    said = []
    limit = ""
    if found.kills:
        limit = "memory"
        who = "it" if code == -signal.SIGKILL else _some(found.kills, "of its processes")
        said.append(f"the kernel killed {who}: {_memory(found)}")
    elif found.refused:
        limit = "pids"
        which = "all contents together have" if found.pids is None else f"it has, {found.pids},"
        said.append(f"it could start no process beyond those that {which} as their limit")
    if full := facts.get("tmp_full"):
        limit = limit or "tmp"
        said.append(f"its temporary files had filled all {_size(full)} that they may take")
    if blocked := facts.get("blocked"):
        said.append(f"the sandbox had refused {_calls(list(map(_name, blocked)))}")
    if code == -signal.SIGSYS:
        said.append("it made a system call of another machine, such as a 32-bit one")
    return limit, "; ".join(said)


def _memory(found: Hits) -> str:
    if found.memory is not None:
        return f"memory limit, {_size(found.memory)}"
    if found.all_memory is not None:
        return f"memory limit of all contents together, {_size(found.all_memory)}"
    return "the machine had no memory left"


def _some(count: int, what: str) -> str:
    return f"{count} {what}"


def _name(call: int | str) -> str:
    """Name a call; the inits of an earlier helper have done so themselves."""
    return name_of(call) if isinstance(call, int) else call


def _calls(names: Sequence[str]) -> str:
    return f"the system call{'s' if len(names) > 1 else ''} {', '.join(names)}"


def _pids_limit(directory: str) -> int | None:
    """Give a group's limit of processes without init; None where it has never been reached."""
    limit, most = number(f"{directory}/pids.max"), number(f"{directory}/pids.peak")
    if limit is None or (most is not None and most < limit):
        return None  # before Linux 6.1 nothing says the most
    return limit - 1


def _reached(directory: str) -> int | None:
    """Give the memory limit of a group where it has been reached."""
    limit = number(f"{directory}/memory.max")
    if limit is not None:
        # Not memory.events: there each limit that was reached beneath counts as well.
        return limit if counts(f"{directory}/memory.events.local").get("oom") else None
    limit = number(f"{directory}/memory.limit_in_bytes")
    most = number(f"{directory}/memory.max_usage_in_bytes")
    return limit if limit and most is not None and most >= limit - _CLOSE else None


def _size(count: int) -> str:
    for unit, each in (("GiB", 1 << 30), ("MiB", 1 << 20), ("GB", 10**9), ("MB", 10**6)):
        if count % each == 0:
            return f"{count // each} {unit}"
    return f"{count / 1e6:.0f} MB"
