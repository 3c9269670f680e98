"""What containers use, as `podman stats` shows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from supervisor import Usage

_FIELDS = ("Name", "ContainerStats.CPUNano", "ContainerStats.MemUsage", "ContainerStats.PIDs")
_FORMAT = " ".join(f"{{{{.{field}}}}}" for field in _FIELDS)
ARGUMENTS = ("stats", "--no-stream", f"--format={_FORMAT}")


def read(text: str) -> Mapping[str, Usage]:
    """Read what podman printed: the usage of each container that runs, by its name."""
    found = {}
    for line in text.splitlines():
        name, nanoseconds, memory, processes = line.split()
        if int(processes):
            found[name] = Usage(
                cpu=int(nanoseconds) / 1e9, memory=int(memory), processes=int(processes)
            )
    return found
