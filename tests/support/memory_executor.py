"""An executor for the machine in memory that keeps every promise: what broken ones are made from.

What runs is the backend's, as in a helper or a cluster: it goes on when a core ends.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

import attrs
import trio

from supervisor import (
    Capabilities,
    Cause,
    Executor,
    Exit,
    InnerEndpoint,
    Job,
    Lifetime,
    Observation,
    OutputChunk,
    Pending,
    Purpose,
    Receipt,
    RunId,
    Running,
    SupervisorError,
    UnixEndpoint,
    Usage,
    layout,
)
from supervisor.model import Endpoint
from tests.support.machine import KILL, SIGNALS, Machine, Process


@attrs.define(eq=False, kw_only=True)
class Held:
    """A run as the backend has it. leader: its first process, once there is one."""

    job: Job
    leader: Process | None = None
    ordered: bool = False
    exit: Exit | None = None
    gone: trio.Event = attrs.field(factory=trio.Event)
    chunks: list[tuple[str, bytes]] = attrs.field(factory=list)
    news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self) -> None:
        """Wake whoever watches or reads."""
        news, self.news = self.news, trio.Event()
        news.set()

    def writes(self, stream: str, data: bytes) -> None:
        """Keep what a process writes."""
        self.chunks.append((stream, data))
        self.tell()


class Backend:
    """Runs on a machine, each in a task that reads from top to bottom."""

    begins = 0.01  # seconds from being accepted until there is a process

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.runs: dict[RunId, Held] = {}

    def begin(self, job: Job) -> Held:
        """Accept a job; the same run again is the run that there is."""
        if job.run not in self.runs:
            self.runs[job.run] = Held(job=job)
            self.machine.soon(self._run, self.runs[job.run])
        return self.runs[job.run]

    async def _run(self, held: Held) -> None:
        await trio.sleep(self.begins)
        try:
            held.leader = self.spawn(held)
        except FileNotFoundError as error:
            self.end(held, Exit(code=127, cause=Cause.FAILED, detail=f"there is no {error}"))
            return
        held.tell()
        with trio.move_on_after(self.run_time(held)) as limit:
            await held.leader.ended.wait()
        await self.collect(held)
        self.end(held, self.how(held, held.leader, too_long=limit.cancelled_caught))

    def spawn(self, held: Held) -> Process:
        """Start its first process."""
        machine = self.machine
        return machine.spawn(held.job, machine.programs[held.job.run], held.writes)

    def run_time(self, held: Held) -> float:
        """Give how long it may take."""
        return held.job.limits.run_time or float("inf")

    async def collect(self, held: Held) -> None:
        """End what is left of a run."""
        while left := self.machine.of(held.job.run):
            for process in left:
                process.signal(KILL)
            await left[0].ended.wait()

    def how(self, held: Held, leader: Process, *, too_long: bool) -> Exit:
        """Say how a run ended."""
        code, signal = leader.status or (None, KILL)
        if held.ordered:
            cause = Cause.STOPPED
        elif too_long:
            cause = Cause.TOO_LONG
        elif leader.out_of_memory:
            cause = Cause.MEMORY
        else:
            cause = Cause.FINISHED if code == 0 else Cause.FAILED
        return Exit(code=code, signal=signal, cause=cause)

    def end(self, held: Held, exit_: Exit) -> None:
        """Tell the end; nothing of the run is left."""
        held.exit = exit_
        held.gone.set()
        held.tell()

    async def stop(self, held: Held, grace: float) -> None:
        """Ask the first process to end, then end all; goes on without whoever asked."""
        held.ordered = True
        while held.leader is None and held.exit is None:
            await held.news.wait()
        if held.leader is not None:
            held.leader.signal(self.stop_signal(held))
            with trio.move_on_after(grace):
                await held.leader.ended.wait()
            await self.collect(held)

    def stop_signal(self, held: Held) -> int:
        """Give what asks it to end."""
        return SIGNALS[held.job.plan.stop_signal]


class MemoryExecutor(Executor):
    """Behaves as the contract says. Several may stand before one backend, as cores come and go."""

    name = "memory"
    backend_type = Backend
    capabilities = Capabilities(
        lifetime=Lifetime.NODE,
        purposes=frozenset({Purpose.SERVE}),
        limits=frozenset({"memory_max", "pids", "files", "tmp", "run_time"}),
        output=True,
        usage=True,
        ports=True,
    )

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    def held(self, receipt: Receipt) -> Held | None:
        """Find a run by its receipt."""
        return self.backend.runs.get(receipt.run)

    def receipt(self, held: Held) -> Receipt:
        """Give the receipt of a run."""
        return Receipt(run=held.job.run, executor=self.name, data={"name": f"run-{held.job.run}"})

    async def start(self, job: Job) -> Receipt:
        await trio.lowlevel.checkpoint()
        held = self.backend.begin(job)
        await trio.lowlevel.checkpoint()
        return self.receipt(held)

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        await trio.lowlevel.checkpoint()
        held = self.held(receipt)
        if held is None:
            yield Exit(cause=Cause.LOST, detail="the backend does not know this run")
            return
        told: Observation | None = None
        while held.exit is None:
            news, seen = held.news, self.seen(held)
            if seen != told:
                told = seen
                yield seen
            else:
                await news.wait()
        yield held.exit
        self.forget(held)

    def seen(self, held: Held) -> Observation:
        """Say how a run stands that has not ended."""
        if held.leader is None:
            return Pending(reason="it waits for its turn")
        return Running(endpoint=self.endpoint(held), pid=held.leader.pid)

    def endpoint(self, held: Held) -> Endpoint | None:
        """Say where a run listens."""
        directory = os.fspath(self.backend.machine.sockets / held.job.run)
        port = held.job.plan.port
        if port is not None:
            return InnerEndpoint(run=held.job.run, port=port, directory=directory, uid=os.geteuid())
        return UnixEndpoint(directory=directory, name=layout.SOCKET_NAME, uid=os.geteuid())

    async def connect(self, endpoint: InnerEndpoint) -> socket.socket:
        await trio.lowlevel.checkpoint()
        inside = socket.socket(socket.AF_UNIX)
        try:
            inside.connect(f"{endpoint.directory}/port-{endpoint.port}")
        except OSError as error:
            inside.close()
            raise SupervisorError("unavailable", f"nothing listens: {error}") from None
        inside.setblocking(False)
        return inside

    def forget(self, held: Held) -> None:
        """Keep no more of a run whose end was told."""
        self.backend.runs.pop(held.job.run, None)

    async def stop(self, receipt: Receipt, grace: float) -> None:
        await trio.lowlevel.checkpoint()
        held = self.held(receipt)
        if held is None or held.exit is not None:
            return
        self.backend.machine.soon(self.backend.stop, held, grace)
        await held.gone.wait()

    async def list(self) -> Sequence[Receipt]:
        await trio.lowlevel.checkpoint()
        return [self.receipt(held) for held in self.backend.runs.values()]

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        await trio.lowlevel.checkpoint()
        held = self.held(receipt)
        at = int(cursor or 0)
        while held is not None:
            news = held.news
            while at < len(held.chunks):
                stream, data = held.chunks[at]
                at += 1
                yield OutputChunk(stream=stream, data=data, cursor=str(at))
            if held.exit is not None:
                return
            await news.wait()

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        await trio.lowlevel.checkpoint()
        used = {run: self.backend.machine.usage(run) for run in runs if run in self.backend.runs}
        return {
            run: Usage(cpu=1.0, memory=memory, processes=count)
            for run, (memory, count) in used.items()
            if count
        }
