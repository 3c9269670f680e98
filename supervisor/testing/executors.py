"""Executors without processes: one that follows a script, and others named by how they misbehave.

A run is a name, a socket and a task on the loop: nothing is started, so a mock clock can carry it
through hours. Runs live in `serve`, as they would in a helper: a core that ends leaves them alone.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import attrs
import trio

from supervisor.errors import SupervisorError
from supervisor.interfaces import Capabilities, Executor, Lifetime, OutputChunk
from supervisor.layout import PlaceRef
from supervisor.model import (
    Cause,
    ContentId,
    Exit,
    Job,
    Observation,
    Pending,
    Purpose,
    Receipt,
    RunId,
    Running,
    UnixEndpoint,
    Usage,
)

SOCKET = "app.sock"
WELL = Exit(code=0, cause=Cause.FINISHED)
TERMINATED = Exit(signal=15, cause=Cause.STOPPED)
KILLED = Exit(signal=9, cause=Cause.STOPPED)


@attrs.frozen(kw_only=True)
class Behaviour:
    """How one run behaves. Times are seconds; None is never.

    start: until start() returns; refusal: what it raises instead. pending: reasons told one each
    second before it runs. listens: from running until its socket accepts connections. lives: from
    running until it ends by itself with `end`. obeys: from being asked to end until it does, with
    `obeying`; later than the grace it is killed. output: written when it runs.
    """

    start: float = 0.0
    refusal: SupervisorError | None = None
    pending: tuple[str, ...] = ()
    listens: float | None = 0.0
    endpoint: bool = True
    lives: float | None = None
    end: Exit = WELL
    obeys: float | None = 0.0
    obeying: Exit = TERMINATED
    output: tuple[tuple[str, bytes], ...] = ()


@attrs.define(eq=False)
class ScriptedRun:
    """A run of a ScriptedExecutor. orders: the grace of each stop() that it was given."""

    job: Job
    behaviour: Behaviour
    pid: int
    directory: str
    orders: list[float] = attrs.field(factory=list)
    pending: str = ""
    running: trio.Event = attrs.field(factory=trio.Event)
    ended: trio.Event = attrs.field(factory=trio.Event)
    exit: Exit | None = None
    forgotten: bool = False
    chunks: list[tuple[str, bytes]] = attrs.field(factory=list)
    listener: socket.socket | None = None
    news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self) -> None:
        """Wake whoever watches or reads."""
        news, self.news = self.news, trio.Event()
        news.set()

    def writes(self, stream: str, data: bytes) -> None:
        """Let the run write something."""
        self.chunks.append((stream, data))
        self.tell()

    def listen(self) -> None:
        """Let the run listen on its socket."""
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(os.path.join(self.directory, SOCKET))
        self.listener.listen(100)

    def dies(self, exit_: Exit) -> None:
        """Let the run end; of several ends the first counts."""
        if self.exit is None:
            self.exit = exit_
            if self.listener is not None:
                self.listener.close()
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.directory, SOCKET))
            self.ended.set()
            self.tell()


class ScriptedExecutor(Executor):
    """Run scripts. directory: a short path, where each run's socket lies in one of its own.

    behaves: one behaviour, or what gives it for a job. Its promises are those of the contract: the
    same job again gives the same receipt. calls: every start, stop and remove with its subject.
    hidden: files that it says its processes do not see.
    """

    name = "scripted"
    capabilities = Capabilities(
        lifetime=Lifetime.NODE,
        purposes=frozenset(Purpose),
        limits=frozenset(),
        output=True,
        usage=True,
    )

    def __init__(
        self,
        directory: str | os.PathLike[str],
        behaves: Behaviour | Callable[[Job], Behaviour] = Behaviour(),
        *,
        on_start: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.directory = os.fspath(directory)
        self.behaves = behaves
        self.on_start = on_start
        self.runs: dict[RunId, ScriptedRun] = {}
        self.calls: list[tuple[str, object]] = []
        self.hidden: set[str] = set()
        self._pids = itertools.count(1000)
        self._nursery: trio.Nursery | None = None

    def count(self, call: str) -> int:
        """Give how often a method was called."""
        return sum(name == call for name, _ in self.calls)

    @property
    def living(self) -> list[ScriptedRun]:
        """The runs that have not ended, oldest first."""
        return [run for run in self.runs.values() if run.exit is None]

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await trio.sleep_forever()

    async def start(self, job: Job) -> Receipt:
        self.calls.append(("start", job.run))
        self.on_start(job)
        if job.run not in self.runs:
            behaviour = self.behaves if isinstance(self.behaves, Behaviour) else self.behaves(job)
            await trio.sleep(behaviour.start)
            if behaviour.refusal is not None:
                raise behaviour.refusal
            if job.run in self.runs:  # somebody else has started it meanwhile
                return self.receipt(job.run)
            directory = os.path.join(self.directory, job.run)
            os.mkdir(directory)
            run = ScriptedRun(
                job=job, behaviour=behaviour, pid=next(self._pids), directory=directory
            )
            self.runs[job.run] = run
            assert self._nursery is not None, "serve() must run"
            self._nursery.start_soon(self._live, run)
        return self.receipt(job.run)

    def receipt(self, run: RunId) -> Receipt:
        """Give the receipt of a run."""
        return Receipt(run=run, executor=self.name, data={"pid": self.runs[run].pid})

    async def _live(self, run: ScriptedRun) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._perform, run)
            await run.ended.wait()
            nursery.cancel_scope.cancel()

    async def _perform(self, run: ScriptedRun) -> None:
        for reason in run.behaviour.pending:
            run.pending = reason
            run.tell()
            await trio.sleep(1.0)
        run.running.set()
        for stream, data in run.behaviour.output:
            run.writes(stream, data)
        run.tell()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, run)
            if run.behaviour.lives is not None:
                await trio.sleep(run.behaviour.lives)
                run.dies(run.behaviour.end)

    async def _listen(self, run: ScriptedRun) -> None:
        if run.behaviour.listens is not None:
            await trio.sleep(run.behaviour.listens)
            run.listen()

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        run = self.runs.get(receipt.run)
        if run is None or run.forgotten:
            yield Exit(cause=Cause.LOST, detail="the script does not know this run")
            return
        told: Observation | None = None
        while run.exit is None:
            news, seen = run.news, self._seen(run)
            if seen != told:
                told = seen
                yield seen
            else:
                await news.wait()
        yield run.exit
        run.forgotten = True

    def _seen(self, run: ScriptedRun) -> Observation:
        if not run.running.is_set():
            return Pending(reason=run.pending)
        endpoint = UnixEndpoint(directory=run.directory, name=SOCKET, uid=os.geteuid())
        return Running(endpoint=endpoint if run.behaviour.endpoint else None, pid=run.pid)

    async def stop(self, receipt: Receipt, grace: float) -> None:
        self.calls.append(("stop", receipt.run))
        run = self.runs.get(receipt.run)
        if run is None or run.exit is not None:
            return
        run.orders.append(grace)
        assert self._nursery is not None, "serve() must run"
        self._nursery.start_soon(self._end, run, grace)
        await run.ended.wait()

    async def _end(self, run: ScriptedRun, grace: float) -> None:
        obeys = run.behaviour.obeys
        patience = grace if obeys is None else min(grace, obeys)
        with trio.move_on_after(patience):
            await run.ended.wait()
        run.dies(run.behaviour.obeying if obeys is not None and obeys <= grace else KILLED)

    async def list(self) -> Sequence[Receipt]:
        return [self.receipt(run) for run, held in self.runs.items() if not held.forgotten]

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        run = self.runs[receipt.run]
        while True:
            news = run.news
            while run.chunks:
                stream, data = run.chunks.pop(0)
                yield OutputChunk(stream=stream, data=data)
            if run.exit is not None:
                return
            await news.wait()

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        wanted = set(runs)
        living = [run.job.run for run in self.living if run.job.run in wanted]
        return {run: Usage(cpu=1.0, memory=2**20, processes=1) for run in living}

    async def hides(self, path: str) -> bool:
        self.calls.append(("hides", path))
        return path in self.hidden

    async def prepare(self, place: PlaceRef, content: ContentId, uid: int) -> None:
        self.calls.append(("prepare", place))

    async def remove(self, place: PlaceRef) -> None:
        self.calls.append(("remove", place))


class AwayExecutor(ScriptedExecutor):
    """Does not answer while `away`, as one whose helper is being started again."""

    away = True

    def _come_by(self) -> None:
        if self.away:
            raise SupervisorError("helper-unavailable", "the helper is away", recoverable=True)

    async def start(self, job: Job) -> Receipt:
        self._come_by()
        return await super().start(job)

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        self._come_by()
        async for seen in super().watch(receipt):
            yield seen
            self._come_by()

    async def stop(self, receipt: Receipt, grace: float) -> None:
        self._come_by()
        await super().stop(receipt, grace)

    async def list(self) -> Sequence[Receipt]:
        self._come_by()
        return await super().list()


class SlowAnswerExecutor(ScriptedExecutor):
    """Starts the process, and never says so: start() does not return."""

    async def start(self, job: Job) -> Receipt:
        await super().start(job)
        await trio.sleep_forever()
        raise AssertionError("never reached")


class BlindExecutor(ScriptedExecutor):
    """Loses sight of its runs: watch() ends after Running without an Exit."""

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            yield seen
            if isinstance(seen, Running):
                return


class BrokenWatchExecutor(ScriptedExecutor):
    """Has a defect: watch() raises after Running what is no SupervisorError."""

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        async for seen in super().watch(receipt):
            yield seen
            if isinstance(seen, Running):
                raise RuntimeError("a defect in watch")


class BrokenListExecutor(ScriptedExecutor):
    """Has a defect: list() raises what is no SupervisorError."""

    async def list(self) -> Sequence[Receipt]:
        raise RuntimeError("a defect in list")


class StuckStopExecutor(ScriptedExecutor):
    """stop() does not return the first time, and ends nothing."""

    async def stop(self, receipt: Receipt, grace: float) -> None:
        if not self.count("stop"):
            self.calls.append(("stop", receipt.run))
            await trio.sleep_forever()
        await super().stop(receipt, grace)
