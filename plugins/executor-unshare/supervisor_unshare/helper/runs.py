"""The runs of this helper: their processes, pipes and ends. One entry per run until `forget`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from supervisor.sampling import Trees
from supervisor_unshare.limits import endings
from supervisor_unshare.limits.cgroups import Group
from supervisor_unshare.requests.jobs import Job
from supervisor_unshare.sandbox.steps import StartFailed

PIPE_SIZE = 1 << 20


class Phase(StrEnum):
    """Where a run of the helper stands."""

    STARTING = "starting"  # cloned; the exec has not been reported
    RUNNING = "running"
    CLEANING = "cleaning"  # every process is gone; its directories are being removed
    ENDED = "ended"


@dataclass(kw_only=True)
class LiveRun:
    """One run. Descriptors are -1 once closed; status is the raw wait status once it is known.

    ends_by: the signal by which its init ends the whole tree. seen: the number that others see for
    its uid, where that is another one than here.
    """

    job: Job
    group: Group
    pid: int
    pidfd: int
    report: int
    stdout: int
    stderr: int
    boot: str
    started: int
    door: int = -1  # to its doorman, for content that listens on a port
    ends_by: int = signal.SIGKILL
    seen: int | None = None
    begun: float = field(default_factory=time.monotonic)
    phase: Phase = Phase.STARTING
    said: bytes = b""
    facts: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    oom: bool = False
    stopped: bool = False
    kill_at: float | None = None  # monotonic seconds
    seconds: float = 0.0

    @property
    def uid(self) -> int:
        """Whose it is, in the numbers of core and gateway."""
        return self.job.uid if self.seen is None else self.seen

    @property
    def receipt(self) -> dict[str, Any]:
        """What names the process on this node: its pid is init's, in the node's numbers."""
        node = os.uname().nodename
        return {"pid": self.pid, "boot": self.boot, "started": self.started, "node": node}

    @property
    def exited(self) -> dict[str, Any]:
        """The event of its end, without the type."""
        return {
            "run": self.job.run,
            "uid": self.uid,
            "receipt": self.receipt,
            "status": self.status,
            "oom": self.oom,
            "limit": self.facts.get("limit", ""),
            "detail": self.facts.get("detail", ""),
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
        }

    @property
    def line(self) -> dict[str, Any]:
        """Its entry in `list`."""
        ended = self.phase is Phase.ENDED
        return {
            "run": self.job.run,
            "content": self.job.content,
            "uid": self.uid,
            "receipt": self.receipt,
            "pid": self.pid,
            "port": self.job.port,
            "state": "ended" if ended else "starting" if self.starting else "running",
            **({"exited": self.exited} if ended else {}),
        }

    @property
    def starting(self) -> bool:
        """Whether the content's program has not been reported as executed."""
        return "running" not in self.facts

    def listen(self) -> bool:
        """Read what init has reported so far, without waiting; tell whether more may come."""
        more = False
        try:
            while data := os.read(self.report, 4096):
                self.said += data
        except BlockingIOError:
            more = True
        *lines, self.said = self.said.split(b"\n")
        for line in lines:
            self.facts.update(json.loads(line))
        return more

    def give_up(self, error: OSError) -> None:
        """End a run of which nothing can be heard."""
        self.said = b""
        self.facts |= {"step": "report", "errno": error.errno, "message": str(error)}
        self.kill()

    def signal(self, number: int) -> None:
        """Send a signal to init; gone already is fine."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def kill(self) -> None:
        """End the whole tree at once: killing pid 1 of a pid namespace kills all in it.

        An init that is no pid 1 is asked by `ends_by` to do it; where it does not, kill_init() is
        left.
        """
        self.signal(self.ends_by)
        self.group.kill()

    def reap(self) -> None:
        """Take the exit status of init, which has ended; the one that it reported comes first."""
        _, own = os.waitpid(self.pid, 0)
        if "step" not in self.facts:
            self.listen()
        self.status = self.facts.get("status", own)
        found = endings.hits(self.group)
        self.oom = found.kills > 0
        limit, detail = endings.explain(self.status, found, self.facts)
        self.facts |= {"limit": limit, "detail": detail}
        self.seconds = time.monotonic() - self.begun
        self.phase = Phase.CLEANING
        for name in ("pidfd", "report", "door"):
            self._close(name)

    def close(self) -> None:
        """Let go of the pipes."""
        for name in ("stdout", "stderr"):
            self._close(name)

    def tell(self, text: str) -> None:
        """Write a line of ours into its log, unless that is full."""
        with contextlib.suppress(OSError):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC
            pipe = os.open(f"/proc/self/fd/{self.stderr}", flags)
            try:
                os.write(pipe, f"[supervisor] {text}\n".encode()[:4096])
            finally:
                os.close(pipe)

    def _close(self, name: str) -> None:
        if getattr(self, name) != -1:
            os.close(getattr(self, name))
            setattr(self, name, -1)


def new_pipe(uid: int | None, gid: int) -> tuple[int, int]:
    """Make a pipe for a stream of content, which owns it and may open /dev/stdout therefore."""
    with contextlib.ExitStack() as undo:
        read, write = os.pipe2(os.O_CLOEXEC)
        for fd in (read, write):
            undo.callback(os.close, fd)
        with contextlib.suppress(OSError):  # a user's total of pipe memory is limited
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        if uid is not None:
            os.fchown(write, uid, gid)
        undo.pop_all()
    return read, write


def start_ticks(pid: int) -> int:
    """Give the start time of a process in clock ticks since boot; with the boot id, its name."""
    return int(_stat(pid)[19])


def usage_of(
    trees: Trees, living: Mapping[str, LiveRun], runs: Iterable[str]
) -> dict[str, dict[str, float]]:
    """Give CPU seconds, bytes and number of processes below init of some runs, and OOM kills.

    Bytes are those that count for their limit, where a group counts them; else resident ones.
    """
    trees.keep_only([live.pid for live in living.values()])
    used: dict[str, dict[str, float]] = {}
    for run in runs:
        if run in living:
            (cpu, memory), processes = trees.read(living[run].pid)
            group = living[run].group
            counted = group.memory_used()
            used[run] = {
                "cpu": cpu,
                "memory": memory if counted is None else counted,
                "processes": processes,
                "kills": group.memory_kills(),
            }
    return used


def _stat(pid: int) -> list[str]:
    """Give the fields of /proc/PID/stat that follow the command's name (state is the first)."""
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096).rpartition(b")")[2].decode().split()
    finally:
        os.close(fd)


def failure_of(run: LiveRun) -> StartFailed:
    """Give why a run has ended before its program was executed."""
    if "step" in run.facts:
        facts = run.facts
        return StartFailed(facts["step"], facts.get("errno"), facts.get("message", ""))
    how = "it was stopped" if run.stopped else f"its init ended with status {run.status}"
    return StartFailed("start", None, f"{how} before the program was executed")
