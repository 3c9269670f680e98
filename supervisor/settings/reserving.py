"""The section [Limits]: what all contents together may use of this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from supervisor.settings import values
from supervisor.settings.keys import key as _key

_RESERVE = (values.Share(bytes=256_000_000), values.Share(part=0.05))


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What the server and the rest of the machine keep, whatever contents do; 0 is no total."""

    section: ClassVar[str] = "Limits"
    about: ClassVar[str] = (
        "What all contents of this machine may use together, where the kernel's control groups"
        " are at hand; those of one process are in `[Scheduler]`. What is beyond stays for the"
        " server itself, and it answers whatever contents do."
    )
    total_memory: int = _key(
        "TotalMemory", values.size, 0, unset="what the machine has, without MemoryReserve",
        about="memory of all contents together",
    )  # fmt: skip
    memory_reserve: tuple[values.Share, ...] = _key(
        "MemoryReserve", values.share, _RESERVE, multi=True,
        about="memory that contents leave to everybody else: a size, or `5%` of it; the larger"
        " counts, a quarter at most",
    )  # fmt: skip
    total_pids: int = _key(
        "TotalPids", values.integer, 0, unset="what the machine can have, without PidsReserve",
        about="processes and threads of all contents together",
    )  # fmt: skip
    pids_reserve: int = _key(
        "PidsReserve", values.integer, 1024,
        about="processes and threads that contents leave to everybody else, a quarter at most",
    )  # fmt: skip

    @property
    def totals(self) -> dict[str, Any]:
        """Give it as the helper gets it; shares are pairs of bytes and a part of the whole."""
        return {
            "total_memory": self.total_memory,
            "memory_reserve": [[share.bytes, share.part] for share in self.memory_reserve],
            "total_pids": self.total_pids,
            "pids_reserve": self.pids_reserve,
        }
