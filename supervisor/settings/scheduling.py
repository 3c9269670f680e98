"""The section [Scheduler]: defaults of every content's scaling and limits, and what it may set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from supervisor.settings import values
from supervisor.settings.keys import key as _key


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheduler:
    """Defaults of a content's scaling; times in seconds. Of limits: in bytes, cores and counts.

    Not defaults are: least_limit and most_limit, and each most_* of a limit, which are the most
    that one content may set; starts_at_once: how many processes may be starting, 0 for twice the
    number of cores; memory_high: the share of a memory limit at which a process is replaced.
    """

    section: ClassVar[str] = "Scheduler"
    about: ClassVar[str] = (
        "Defaults for content that has no values of its own (`supervisor set` gives it some); "
        "what each does when it is reached is in [tune](../howto/tune.md). A time of `0s` "
        "means never; times go up to 2592000 s, thirty days. A value beyond its bounds "
        "refuses the start and names its line."
    )
    least: int = _key(
        "MinProcesses", values.integer, 0, reloadable=True,
        about="processes that run even while nobody visits",
    )  # fmt: skip
    most: int = _key("MaxProcesses", values.integer, 3, reloadable=True, about="processes at most")
    sessions_each: int = _key(
        "MaxConnsPerProcess", values.integer, 20, reloadable=True,
        about="sessions that one process takes, 1 or more",
    )  # fmt: skip
    load_factor: float = _key(
        "LoadFactor", values.fraction, 0.5, reloadable=True,
        about="the share of all seats taken, 0.0 to 1.0, from which another process is started",
    )  # fmt: skip
    init: float = _key(
        "InitTimeout", values.duration, 60.0, reloadable=True,
        about="a process that does not answer by then has failed",
    )  # fmt: skip
    idle: float = _key(
        "IdleTimeout", values.duration, 120.0, reloadable=True,
        about="a process without visitors ends after so long",
    )  # fmt: skip
    connection: float = _key(
        "ConnectionTimeout", values.duration, 3600.0, reloadable=True,
        about="a session without a byte either way ends after so long",
    )  # fmt: skip
    read: float = _key(
        "ReadTimeout", values.duration, 3600.0, reloadable=True,
        about="a session whose visitor sends nothing ends after so long",
    )  # fmt: skip
    reconnect: float = _key(
        "ReconnectTimeout", values.duration, 15.0, reloadable=True,
        about="a visitor whose connection broke keeps the seat for so long",
    )  # fmt: skip
    drain: float = _key(
        "DrainTimeout", values.duration, 3600.0, reloadable=True,
        about="sessions on a process that was replaced end after so long",
    )  # fmt: skip
    notice: bool = _key(
        "DrainNotice", values.boolean, True, reloadable=True,
        about="pages announce that end five minutes before",
    )  # fmt: skip
    least_limit: int = _key(
        "MinProcessesLimit", values.integer, 10, reloadable=True,
        about="the most that a content, or the default, may have as MinProcesses",
    )  # fmt: skip
    most_limit: int = _key(
        "MaxProcessesLimit", values.integer, 20, reloadable=True,
        about="the most that a content, or the default, may have as MaxProcesses",
    )  # fmt: skip
    starts_at_once: int = _key(
        "StartsAtOnce", values.integer, 0, reloadable=True,
        about="processes that may be starting at the same time; `0`: twice the number of processor"
        " cores",
    )  # fmt: skip
    memory_max: int = _key(
        "MemoryLimit", values.size, 0, reloadable=True,
        about="memory of one process and its children, its temporary files included; `0`: no"
        " [limit](../howto/limits.md), as for all that follow",
    )  # fmt: skip
    memory_high: float = _key(
        "MemoryHigh", values.fraction, 0.9, reloadable=True,
        about="the share of its memory limit, 0.0 to 1.0, from which a process is replaced by a new"
        " one",
    )  # fmt: skip
    cpu: float = _key(
        "CPULimit", values.number, 0.0, reloadable=True,
        about="processor cores that one process may use, such as `0.5`",
    )  # fmt: skip
    pids: int = _key(
        "PidsLimit", values.integer, 0, reloadable=True,
        about="processes and threads that one process may have below it",
    )  # fmt: skip
    files: int = _key(
        "FilesLimit", values.integer, 0, reloadable=True, about="open files of each process"
    )
    tmp: int = _key(
        "TmpLimit", values.size, 0, reloadable=True,
        about="temporary files of one process, kept in memory then: `/tmp`, its home, `/dev/shm`",
    )  # fmt: skip
    nice: int = _key(
        "Nice", values.integer, 0, reloadable=True,
        about="rank of content's processes, 0 to 19; the higher, the less they get of a busy"
        " processor",
    )  # fmt: skip
    most_memory_max: int = _key(
        "MaxMemoryLimit", values.size, 0, reloadable=True,
        about="the most that a content, or the default, may have as MemoryLimit",
    )  # fmt: skip
    most_cpu: float = _key(
        "MaxCPULimit", values.number, 0.0, reloadable=True, about="the same for CPULimit"
    )
    most_pids: int = _key(
        "MaxPidsLimit", values.integer, 0, reloadable=True, about="the same for PidsLimit"
    )
    most_files: int = _key(
        "MaxFilesLimit", values.integer, 0, reloadable=True, about="the same for FilesLimit"
    )
    most_tmp: int = _key(
        "MaxTmpLimit", values.size, 0, reloadable=True, about="the same for TmpLimit"
    )

    @property
    def maxima(self) -> dict[str, float]:
        """Give the most of each limit that has one, as the helper gets it."""
        names = ("memory_max", "cpu", "pids", "files", "tmp")
        given = {name: getattr(self, f"most_{name}") for name in names}
        return {name: value for name, value in given.items() if value}
