"""An executor of plain processes, each the leader of a session, found again by a file of its own.

It keeps what the flow of a killed core asks for: no limits, no output, and a tree is a session.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

import trio

from supervisor import (
    Capabilities,
    Cause,
    Executor,
    Exit,
    Job,
    Lifetime,
    Observation,
    Purpose,
    Receipt,
    RunId,
    Running,
    UnixEndpoint,
    layout,
)

_DIES_WITH_PARENT = 1  # prctl's PR_SET_PDEATHSIG


class ProcessExecutor(Executor):
    """Runs jobs as this process's user. directory: a short path; one directory of it per run."""

    name = "processes"
    capabilities = Capabilities(
        lifetime=Lifetime.NODE, purposes=frozenset({Purpose.SERVE}), shared_files=False
    )
    tied = False

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    async def start(self, job: Job) -> Receipt:
        await trio.lowlevel.checkpoint()
        place = self.directory / job.run
        if not place.exists():
            place.mkdir()
            process = subprocess.Popen(  # noqa: ASYNC220
                job.plan.argv,
                env={**job.plan.env, "SUPERVISOR_LISTEN": f"{place}/{layout.SOCKET_NAME}"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
                preexec_fn=self.tie if self.tied else None,
            )
            (place / "pid").write_text(json.dumps(process.pid))
        return self.receipt(job.run)

    def tie(self) -> None:
        """Let the process end with the one that starts it."""
        ctypes.CDLL(None).prctl(_DIES_WITH_PARENT, signal.SIGKILL)

    def receipt(self, run: RunId) -> Receipt:
        """Give the receipt of a run."""
        return Receipt(run=run, executor=self.name)

    def pid(self, run: RunId) -> int | None:
        """Give the pid of a run's process, None where it is gone."""
        try:
            pid = int((self.directory / run / "pid").read_text())
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            pass
        except FileNotFoundError:
            return None
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return None
        return None if stat.rpartition(")")[2].split()[0] == "Z" else pid

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        await trio.lowlevel.checkpoint()
        place = self.directory / receipt.run
        pid = self.pid(receipt.run)
        if pid is not None:
            endpoint = UnixEndpoint(directory=str(place), name=layout.SOCKET_NAME, uid=os.geteuid())
            yield Running(endpoint=endpoint, pid=pid)
        while self.pid(receipt.run) is not None:  # noqa: ASYNC110
            await trio.sleep(0.02)
        stopped = (place / "stopped").exists()
        yield Exit(cause=Cause.STOPPED if stopped else Cause.LOST)

    async def stop(self, receipt: Receipt, grace: float) -> None:
        await trio.lowlevel.checkpoint()
        pid = self.pid(receipt.run)
        if pid is not None:
            (self.directory / receipt.run / "stopped").touch()
            os.killpg(pid, signal.SIGKILL)
        while self.pid(receipt.run) is not None:  # noqa: ASYNC110
            await trio.sleep(0.01)

    async def list(self) -> Sequence[Receipt]:
        await trio.lowlevel.checkpoint()
        runs = [RunId(path.name) for path in self.directory.iterdir()]
        return [self.receipt(run) for run in runs if self.pid(run) is not None]


class TiedToItsCore(ProcessExecutor):
    """A process that a core has started ends when that core is killed."""

    tied = True
