"""PlainExecutor: plans of a runtime as plain processes, for tests of runtimes without a sandbox."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from supervisor import layout
from supervisor.interfaces import Capabilities, Executor, Lifetime, OutputChunk
from supervisor.layout import Role
from supervisor.model import (
    Cause,
    Exit,
    Job,
    Observation,
    Purpose,
    Receipt,
    RunId,
    Running,
    UnixEndpoint,
    place_key,
)

_LOOK = 0.02  # seconds between two looks at a process
_SIGNALS = {"TERM": signal.SIGTERM, "INT": signal.SIGINT}


@attrs.define(eq=False)
class _Process:
    """One run. root: the directory that its sandbox paths lie in."""

    root: Path
    popen: subprocess.Popen[bytes]
    asks: signal.Signals
    stopped: bool = False

    @property
    def log(self) -> Path:
        return self.root / "log"

    async def ended(self) -> int:
        while (status := self.popen.poll()) is None:  # noqa: ASYNC110
            await trio.sleep(_LOOK)
        return status

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, number)


class PlainExecutor(Executor):
    """Run jobs as the caller, with the paths of the sandbox put into a directory of each run.

    directory: an empty one with a short path. data_dir: the server's. It ends a session, and not
    what has left it; limits and uids are not kept: for tests alone.
    """

    name = "plain"
    capabilities = Capabilities(
        lifetime=Lifetime.CORE, purposes=frozenset({Purpose.SERVE}), output=True, streams=False
    )

    def __init__(self, directory: Path, data_dir: Path) -> None:
        self._directory = directory
        self._data_dir = data_dir
        self._runs: dict[RunId, _Process] = {}

    @property
    def living(self) -> list[RunId]:
        """The runs whose first process lives."""
        return [run for run, process in self._runs.items() if process.popen.poll() is None]

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Kill what is left when the core ends."""
        try:
            await super().serve(task_status=task_status)
        finally:
            for process in self._runs.values():
                process.signal(signal.SIGKILL)
                process.popen.wait()

    async def start(self, job: Job) -> Receipt:
        """Start it in a session of its own."""
        await trio.lowlevel.checkpoint()
        if job.run not in self._runs:
            self._runs[job.run] = self._start(job)
        return self._receipt(job.run)

    def _start(self, job: Job) -> _Process:
        root = self._directory / job.run[-8:]
        root.mkdir(parents=True)

        def here(text: str) -> str:
            home = f"{root}/home" if text == layout.at(Role.HOME) else text
            return home.replace(layout.MOUNT_ROOT, os.fspath(root))

        for mount in job.plan.mounts:
            place, at = job.places.get(place_key(mount)), Path(here(mount.at))
            at.parent.mkdir(parents=True, exist_ok=True)
            if place is None:
                at.mkdir()
            else:
                target = self._data_dir.joinpath(*layout.components(place))
                target.mkdir(parents=True, exist_ok=True)
                at.symlink_to(target)
        with (root / "log").open("wb") as log:
            popen = subprocess.Popen(
                [here(word) for word in job.plan.argv],
                env={name: here(value) for name, value in job.plan.env.items()},
                cwd=here(job.plan.workdir),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return _Process(root, popen, _SIGNALS[job.plan.stop_signal])

    def _receipt(self, run: RunId) -> Receipt:
        return Receipt(run=run, executor=self.name)

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        """Tell how it stands, and how it ended."""
        await trio.lowlevel.checkpoint()
        process = self._runs.get(receipt.run)
        if process is None:
            yield Exit(cause=Cause.LOST)
            return
        if process.popen.poll() is None:
            directory = os.fspath(process.root / "socket")
            endpoint = UnixEndpoint(directory=directory, name=layout.SOCKET_NAME, uid=os.geteuid())
            yield Running(endpoint=endpoint, pid=process.popen.pid)
        status = await process.ended()
        process.signal(signal.SIGKILL)
        cause = Cause.FAILED if status else Cause.FINISHED
        yield Exit(
            code=status if status >= 0 else None,
            signal=-status if status < 0 else None,
            cause=Cause.STOPPED if process.stopped else cause,
        )
        self._runs.pop(receipt.run, None)

    async def stop(self, receipt: Receipt, grace: float) -> None:
        """Ask, wait, kill."""
        await trio.lowlevel.checkpoint()
        process = self._runs.get(receipt.run)
        if process is None:
            return
        process.stopped = True
        process.signal(process.asks)
        with trio.move_on_after(grace):
            await process.ended()
        process.signal(signal.SIGKILL)
        await process.ended()

    async def list(self) -> Sequence[Receipt]:
        """Give those whose end was not told."""
        await trio.lowlevel.checkpoint()
        return [self._receipt(run) for run in self._runs]

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        """Give its log as it grows."""
        process = self._runs.get(receipt.run)
        at = int(cursor or 0)
        while process is not None:
            ended = process.popen.poll() is not None
            data = process.log.read_bytes()[at:]
            at += len(data)
            if data:
                yield OutputChunk(stream="stdout", data=data, cursor=str(at))
            if ended:
                return
            await trio.sleep(_LOOK)
