"""A machine in memory: programs as tasks, with pids that are used again, signals, limits and files.

It carries out supervisor.testing.programs as a real one would, so that an executor's fault shows
in what is left on it. A mock clock carries it through hours.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from supervisor import Job, RunId, layout
from supervisor.testing import Program, programs

SIGNALS = {"TERM": 15, "INT": 2}
KILL = 9
ALL = frozenset({15, 2})
FORKS_MOST = 1000
SIZE = 1 << 20  # bytes of memory of each process


@attrs.define(eq=False, kw_only=True)
class Process:
    """One process. status: how it ended, (exit code, signal); trap: a signal that it waits for."""

    pid: int
    job: Job
    program: Program
    leader: bool = False
    ignores: frozenset[int] = frozenset()
    trap: int = 0
    trapped: trio.Event = attrs.field(factory=trio.Event)
    killed_by: int | None = None
    out_of_memory: bool = False
    status: tuple[int | None, int | None] | None = None
    ended: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    writes: Callable[[str, bytes], None] = lambda stream, data: None

    def says(self, text: str) -> None:
        """Write a line."""
        self.writes("stdout", f"{text}\n".encode())

    def signal(self, number: int) -> None:
        """Be sent a signal."""
        if number in self.ignores:
            return
        if number == self.trap:
            self.trapped.set()
        else:
            self.killed_by = number
            self.scope.cancel()


class Machine:
    """Processes by pid. directory: a short path, for DataDir and sockets.

    A process leaves when it is reaped: as soon as it has ended.
    """

    def __init__(self, directory: Path) -> None:
        self.data_dir = directory / "data"
        self.sockets = directory / "run"
        for path in (self.data_dir, self.sockets):
            path.mkdir()
        self.processes: dict[int, Process] = {}
        self.programs: dict[RunId, Program] = {}
        self._nursery: trio.Nursery | None = None

    @asynccontextmanager
    async def powered(self) -> AsyncIterator[Machine]:
        """Let processes run while the block does."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            yield self
            nursery.cancel_scope.cancel()

    def soon(self, call: Callable[..., Awaitable[object]], *args: object) -> None:
        """Do something that goes on without whoever asked for it."""
        assert self._nursery is not None, "the machine has no power"
        self._nursery.start_soon(call, *args)

    def of(self, run: RunId) -> list[Process]:
        """Give the living processes of a run, the leader first."""
        return [process for process in self.processes.values() if process.job.run == run]

    async def alive(self, run: RunId) -> int:
        """Count the living processes of a run."""
        await trio.lowlevel.checkpoint()
        return len(self.of(run))

    def spawn(self, job: Job, program: Program, writes: Callable[[str, bytes], None]) -> Process:
        """Start the first process of a run. FileNotFoundError where there is no such program."""
        if program == programs.MISSING:
            raise FileNotFoundError(program.argv[0])
        process = Process(
            pid=self._free_pid(), job=job, program=program, leader=True, writes=writes
        )
        self.processes[process.pid] = process
        self.soon(self._live, process)
        return process

    def _fork(self, parent: Process, *, ignores: frozenset[int] = frozenset()) -> Process:
        child = attrs.evolve(
            parent,
            pid=self._free_pid(),
            leader=False,
            ignores=ignores,
            trapped=trio.Event(),
            ended=trio.Event(),
            scope=trio.CancelScope(),
        )
        self.processes[child.pid] = child
        self.soon(self._live, child)
        return child

    def _free_pid(self) -> int:
        return next(pid for pid in itertools.count(1000) if pid not in self.processes)

    async def _live(self, process: Process) -> None:
        code = None
        with process.scope:
            code = await self._carry_out(process) if process.leader else await self._follow(process)
        process.status = (code, process.killed_by if code is None else None)
        del self.processes[process.pid]
        process.ended.set()

    # What programs do

    async def _follow(self, process: Process) -> int:
        """Be a process that another one has started."""
        if process.program.name == "beats":
            await self._beat(process)
        await trio.sleep_forever()
        raise AssertionError

    async def _carry_out(self, process: Process) -> int:
        name, _, rest = process.program.name.partition("-")
        match name:
            case "ends":
                return int(rest)
            case "killed":
                process.signal(int(rest.rpartition("-")[2]))
                await trio.sleep_forever()
            case "leaves":
                self._fork(process)
                self._fork(process)
                return 3
            case "says":
                text, _, status = rest.rpartition("-")
                process.says(text)
                return int(status)
            case "prints":
                for stream, data in _pieces():
                    process.writes(stream, data)
                    await trio.sleep(0.001)
                return 0
            case "takes":
                self._take_memory(process, 400 << 20)
                process.says("got it")
            case "forks":
                process.says(str(self._fork_all(process)))
                return 0
            case "opens":
                process.says(str(process.job.limits.files or 1024))
                return 0
            case "fills":
                return 1 if (process.job.limits.tmp or 1 << 40) < 40 << 20 else 0
            case _:
                return await self._stay(process, name, rest)
        await trio.sleep_forever()
        raise AssertionError

    async def _stay(self, process: Process, name: str, rest: str) -> int:
        if name in ("serves", "serves a port", "tells"):
            return await self._answer(process)
        if name == "stubborn":
            process.ignores = ALL
            for _ in range(3):
                self._fork(process, ignores=ALL)
        if name == "beats":
            process.ignores = ALL
            self._fork(process, ignores=ALL)
        if name == "tidies":
            _, trap, seconds = rest.split("-")
            process.trap = SIGNALS[trap]
            process.says("ready")
            await process.trapped.wait()
            await trio.sleep(float(seconds))
            return 7
        process.says("ready")
        if name == "beats":
            await self._beat(process)
        await trio.sleep_forever()
        raise AssertionError

    def _take_memory(self, process: Process, size: int) -> None:
        limit = process.job.limits.memory_max
        if limit is not None and size > limit:
            process.out_of_memory = True
            process.signal(KILL)

    def _fork_all(self, process: Process) -> int:
        limit = process.job.limits.pids or FORKS_MOST
        count = 0
        while len(self.of(process.job.run)) < limit:
            self._fork(process)
            count += 1
        return count

    async def _beat(self, process: Process) -> None:
        [place] = process.job.places.values()
        path = self.data_dir.joinpath(*layout.components(place))
        path.mkdir(parents=True, exist_ok=True)
        while True:
            with (path / "beats").open("ab") as file:
                file.write(b"beat\n")
            await trio.sleep(0.05)

    async def _answer(self, process: Process) -> int:
        """Answer every request on the run's socket, or on the port of its own network."""
        body, port = b"ok", process.job.plan.port
        if process.program == programs.TELLS:
            place = process.job.places["source/"]
            text = self.data_dir.joinpath(*layout.components(place), "tiny.txt").read_text()
            body = f"{text} {os.urandom(6).hex()}".encode()
        directory = self.sockets / process.job.run
        directory.mkdir(exist_ok=True)
        path = directory / (layout.SOCKET_NAME if port is None else f"port-{port}")
        path.unlink(missing_ok=True)
        plain = socket.socket(socket.AF_UNIX)
        plain.bind(os.fspath(path))  # trio would do this in a thread, and a mock clock run ahead
        with trio.socket.from_stdlib_socket(plain) as listener:
            listener.listen(100)
            process.says("ready")
            async with trio.open_nursery() as nursery:
                while True:
                    connection, _ = await listener.accept()
                    nursery.start_soon(_answer_one, connection, body)

    def usage(self, run: RunId) -> tuple[int, int]:
        """Give bytes of memory and the number of processes of a run."""
        count = len(self.of(run))
        return count * SIZE, count


async def _answer_one(connection: trio.socket.SocketType, body: bytes) -> None:
    with connection, suppress(OSError):
        if await connection.recv(65536):
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n"
            await connection.send(head.encode() + body)


def _pieces() -> Iterator[tuple[str, bytes]]:
    """Give what PRINTS writes in pieces of 40 kB, the two streams in turn."""
    pieces = [
        [(stream, data[at : at + 40_000]) for at in range(0, len(data), 40_000)]
        for stream, data in programs.printed().items()
    ]
    for both in itertools.zip_longest(*pieces):
        yield from (piece for piece in both if piece)
