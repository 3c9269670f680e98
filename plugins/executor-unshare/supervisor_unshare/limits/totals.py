"""What all contents of a server may use together: the machine, without a reserve for the rest.

Parent, core, gateway and helper stay outside the group that is limited here. So a content that
takes all there is takes it from other contents, and the server goes on answering.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from supervisor_unshare.limits.cgroups import Hierarchies, read, write

LARGEST_RESERVE = 0.25  # of what there is: contents get the most of a small machine
# Of a busy processor, against 100 (v2) or 1024 (v1) of everybody else beside the group.
_WEIGHTS = {"cpu.weight": "50", "cpu.shares": "512"}
_FILES = {
    "memory": ("memory.max", "memory.limit_in_bytes"),
    "pids": ("pids.max", "pids.max"),
}
# Beyond the total they would live in it, and whatever is read from the same disk waits for them.
_SWAP = "memory.swap.max"


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Bytes of memory and numbers of processes; None: no total."""

    memory: int | None = None
    pids: int | None = None


def of(settings: Mapping[str, Any], machine: Totals) -> Totals:
    """Give the totals by the settings, on a machine that has so much."""
    memory = machine.memory or 0
    shares = settings.get("memory_reserve", ())  # of bytes and a part each; the largest counts
    reserve = max((max(count, int(part * memory)) for count, part in shares), default=0)
    return Totals(
        memory=settings.get("total_memory") or _without(machine.memory, reserve),
        pids=settings.get("total_pids") or _without(machine.pids, settings.get("pids_reserve", 0)),
    )


def machine(found: Hierarchies, *, proc: str = "/proc") -> Totals:
    """Give what there is: of the machine, or of the container in which it is seen from."""
    memory = [_kilobytes(f"{proc}/meminfo") * 1024, *_above(found, "memory")]
    kernel = [_number(f"{proc}/sys/kernel/{name}") for name in ("pid_max", "threads-max")]
    return Totals(
        memory=int(min(filter(None, memory), default=0)) or None,
        pids=int(min(filter(None, [*kernel, *_above(found, "pids")]), default=0)) or None,
    )


def apply(found: Hierarchies, totals: Totals) -> list[str]:
    """Hold the group of all contents to totals; give what could not be done, in words."""
    troubles = []
    for controller, value in (("memory", totals.memory), ("pids", totals.pids)):
        directory = found.controllers.get(controller)
        if directory is None or value is None:
            continue
        values = {_FILES[controller][0 if controller in found.v2 else 1]: str(value)}
        if "memory.max" in values and os.path.exists(f"{directory}/{_SWAP}"):
            values[_SWAP] = "0"
        for name, text in values.items():
            try:
                write(f"{directory}/{name}", text)
            except OSError as error:
                troubles.append(f"{name}: {error.strerror}")
    if directory := found.controllers.get("cpu"):
        name = "cpu.weight" if "cpu" in found.v2 else "cpu.shares"
        with contextlib.suppress(OSError):
            write(f"{directory}/{name}", _WEIGHTS[name])
    return troubles


def applied(found: Hierarchies) -> Totals:
    """Give the totals that hold now."""
    values = {}
    for controller, names in _FILES.items():
        directory = found.controllers.get(controller)
        name = names[0 if controller in found.v2 else 1]
        value = _number(f"{directory}/{name}") if directory else 0
        values[controller] = int(value) if 0 < value < 2**62 else None
    return Totals(**values)


def _without(whole: int | None, reserve: int) -> int | None:
    return None if whole is None else whole - min(reserve, int(whole * LARGEST_RESERVE))


def _above(found: Hierarchies, controller: str) -> list[float]:
    """Give the limits of the groups in which ours lies."""
    directory = found.controllers.get(controller)
    name = _FILES[controller][0 if controller in found.v2 else 1]
    limits = []
    while directory and os.path.dirname(directory) != directory:
        directory = os.path.dirname(directory)
        if not os.path.exists(f"{directory}/cgroup.procs"):
            break
        limits.append(_number(f"{directory}/{name}"))
    return limits


def _number(path: str) -> float:
    """Read a number; 0 where there is none, infinity for `max`."""
    try:
        text = read(path).strip()
    except OSError:
        return 0
    return math.inf if text == "max" else float(text)


def _kilobytes(path: str) -> int:
    for line in read(path).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1])
    return 0
