"""An executor of tens of thousands of runs, all of which answer at one socket.

A run is a name and a task that sleeps. Its path tells the one listener which process is asked, so
that readiness and pulse are real requests over a real socket, at the cost of one.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from supervisor.interfaces import Capabilities, Executor, Lifetime
from supervisor.layout import PlaceRef
from supervisor.model import (
    Cause,
    DeploymentId,
    Exit,
    Job,
    Observation,
    Pending,
    Purpose,
    Receipt,
    RunId,
    Running,
    UnixEndpoint,
)
from tests.support.day.world import App, World

if TYPE_CHECKING:
    from tests.support.day.gateway import Session

SOCKET = "apps.sock"
CRASHED = Exit(code=1, cause=Cause.FAILED)
KILLED = Exit(signal=9, cause=Cause.FAILED)
STOPPED = Exit(signal=15, cause=Cause.STOPPED)


@attrs.define(eq=False)
class Process:
    """One run. warm_at: when it answers first; computes_until: it answers nobody before.

    generation: which processes are to be counted together. pardoned: it has more sessions than
    its limit by right: opened while no core lived, or under an earlier limit.
    """

    job: Job
    app: App
    deployment: DeploymentId
    generation: object
    pid: int
    running: bool = False
    warm_at: float = float("inf")
    computes_until: float = 0.0
    answered: bool = False
    ordered: bool = False
    pardoned: bool = False
    drains: float = float("inf")  # when it was first seen to drain without a session
    sessions: set[Session] = attrs.field(factory=set)
    exit: Exit | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    taken: bool = False  # its exit was
    news: trio.Event = attrs.field(factory=trio.Event)

    @property
    def id(self) -> RunId:
        """The run's id."""
        return self.job.run

    def compute(self, seconds: float) -> None:
        """Answer nobody for so long."""
        self.computes_until = max(self.computes_until, trio.current_time() + seconds)

    def dies(self, exit_: Exit) -> None:
        """End; of several ends the first counts. Its sessions end with it."""
        if self.exit is None:
            self.exit = exit_
            self.app.note(
                f"{self.id[-6:]} ends: {exit_.cause.value}, {len(self.sessions)} sessions"
            )
            self.app.touch()
            del self.app.processes[self.id]
            self.ended.set()
            for session in list(self.sessions):
                session.ends("process")


class Processes(Executor):
    """The executor of a simulated day. most_starting: the limit that is watched."""

    name = "day"
    capabilities = Capabilities(
        lifetime=Lifetime.NODE, purposes=frozenset(Purpose), shared_files=True
    )

    def __init__(self, world: World, directory: str, *, most_starting: int) -> None:
        self.world = world
        self.most_starting = most_starting
        self.runs: dict[RunId, Process] = {}
        self.made: dict[RunId, tuple[DeploymentId, object]] = {}
        self.starting: dict[RunId, float] = {}  # since when
        self.endpoint = UnixEndpoint(directory=directory, name=SOCKET, uid=os.geteuid())
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(os.path.join(directory, SOCKET))
        self._listener.listen(4096)
        self._listener.setblocking(False)
        self._nursery: trio.Nursery | None = None

    # -- the contract ---------------------------------------------------------------------------

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            with trio.socket.from_stdlib_socket(self._listener) as listener:
                while True:
                    stream, _ = await listener.accept()
                    nursery.start_soon(self._answer, stream)

    async def start(self, job: Job) -> Receipt:
        await trio.sleep(self.world.random.uniform(0.005, 0.05))
        if job.run not in self.runs:
            app = self.world.by_number(job.content)
            deployment, generation = self.made.pop(job.run)
            process = Process(
                job=job,
                app=app,
                deployment=deployment,
                generation=generation,
                pid=len(self.runs) + 1000,
            )
            self.runs[job.run] = app.processes[job.run] = process
            self.starting[job.run] = trio.current_time()
            app.touch()
            app.note(f"{job.run[-6:]} starts, deployment {deployment}")
            self.world.figures["starts"] += 1
            self._look_at_limits(process)
            assert self._nursery is not None
            self._nursery.start_soon(self._live, process)
        return self._receipt(job.run)

    def _receipt(self, run: RunId) -> Receipt:
        return Receipt(run=run, executor=self.name, data={"pid": self.runs[run].pid})

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        process = self.runs[receipt.run]
        while not process.running and process.exit is None:
            news = process.news
            yield Pending(reason="it waits for room")
            await news.wait()
        if process.exit is None:
            yield Running(endpoint=self.endpoint, pid=process.pid)
        await process.ended.wait()
        assert process.exit is not None
        yield process.exit
        self.runs.pop(receipt.run, None)

    async def stop(self, receipt: Receipt, grace: float) -> None:
        process = self.runs.get(receipt.run)
        if process is None:
            return
        if process.exit is not None:
            self.runs.pop(receipt.run)  # nobody who watches it will take its exit
            return
        if not process.ordered:
            process.ordered = True
            self._look_at_order(process)
        obeys = self.world.random.choice((0.05, 0.3, 60.0))
        with trio.move_on_after(min(grace, obeys)):
            await process.ended.wait()
        process.dies(STOPPED)

    async def list(self) -> Sequence[Receipt]:
        await trio.sleep(0.01)
        return [self._receipt(run) for run in self.runs]

    async def remove(self, place: PlaceRef) -> None:
        content, deployment = place.ids
        app = self.world.by_number(int(content))
        number = DeploymentId(int(deployment))
        app.note(f"deployment {number} is removed")
        app.removed[number] += 1
        if app.removed[number] > 1:
            self.world.broke(app, f"deployment {number} was told deserted twice")
        for process in app.processes.values():
            if process.deployment == number:
                self.world.broke(app, f"deployment {number} is removed while it runs")

    # -- lives ----------------------------------------------------------------------------------

    async def _live(self, process: Process) -> None:
        app, chance = process.app, self.world.random
        with trio.move_on_after(app.starts * chance.uniform(0.1, 0.4)):
            await process.ended.wait()
        process.running = True
        process.news.set()
        if process.deployment in app.broken:
            process.warm_at = float("inf")
            await self._until(process, chance.uniform(0.2, 2.0))
            process.dies(CRASHED)
        else:
            process.warm_at = trio.current_time() + app.starts * chance.uniform(0.4, 0.8)
        await process.ended.wait()
        process.news.set()
        self.starting.pop(process.id, None)

    async def _until(self, process: Process, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await process.ended.wait()

    async def _answer(self, stream: trio.socket.SocketType) -> None:
        """Answer for the process whose id is the path, once it is warm and does not compute."""
        with stream:
            head = await stream.recv(4096)
            if not head:
                return
            process = self.runs.get(RunId(head.split(b" ", 2)[1][1:].decode()))
            while process is not None and process.exit is None:
                free_at = max(process.warm_at, process.computes_until)
                if trio.current_time() >= free_at:
                    process.answered = True
                    self.starting.pop(process.id, None)
                    with suppress(BrokenPipeError):  # nobody asks any more
                        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
                    return
                with trio.move_on_at(free_at):
                    await process.ended.wait()

    # -- what must hold -------------------------------------------------------------------------

    def _look_at_limits(self, process: Process) -> None:
        core, app = self.world.core, process.app
        if len(self.starting) > self.most_starting:
            self.world.broke(app, f"{len(self.starting)} processes start at once")
        self.world.figures["most starting"] = max(
            self.world.figures["most starting"], len(self.starting)
        )
        if core is None:
            return
        keeper = core.keeper(app)
        alike = [
            other
            for other in app.processes.values()
            if other.generation == process.generation
            and (worker := core.contents.registry.workers.get(other.id)) is not None
            and keeper.counts(worker)
        ]
        if len(alike) > keeper.scaling.most:
            self.world.broke(app, f"{len(alike)} processes of one generation")

    def _look_at_order(self, process: Process) -> None:
        """A process with sessions is ended by a person or at its limit, and for nothing else."""
        process.app.note(f"{process.id[-6:]} is told to end, {len(process.sessions)} sessions")
        core = self.world.core
        if not process.sessions or core is None:
            return
        worker = core.contents.registry.workers.get(process.id)
        if worker is None:
            return
        reason = worker.tracked.run.reason
        by_hand = reason.startswith(("stopped by", "restarted", "killed by", "removed"))
        at_limit = worker.ends_at is not None and trio.current_time() >= worker.ends_at - 0.01
        if not by_hand and not at_limit:
            self.world.broke(
                process.app,
                f"{process.id} is ended with {len(process.sessions)} sessions: {reason}",
            )
