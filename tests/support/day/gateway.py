"""A gateway of a simulated day: it speaks the real link, and its visitors are tasks.

What it does with seats, questions and pins is what supervisor.gateway.link does, without sockets
towards visitors and processes.
"""

from __future__ import annotations

import itertools
import os
import socket
from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
import trio

from supervisor import packets
from supervisor.gateway import activity
from supervisor.model import RunId
from tests.support.day import rules
from tests.support.day.processes import Process
from tests.support.day.world import App, World

REPORT = 0.1  # seconds between two reports at least

Answer = dict[str, Any]


class GatewayGone(Exception):
    """The gateway ended, and all connections with it."""


@attrs.define(eq=False)
class Session:
    """One WebSocket. ended: set by whatever ends it against its will; why: "process", "core"
    (told to end it), "gateway".
    """

    app: App
    process: Process
    seat: str
    visitor: str
    gateway: DayGateway
    since: float
    why: str = ""
    ended: trio.Event = attrs.field(factory=trio.Event)

    def ends(self, why: str) -> None:
        """End it, whatever its visitor wants."""
        self.why = self.why or why
        self.leave(clean=False)
        self.ended.set()

    def leave(self, *, clean: bool) -> None:
        """Close it; twice is fine."""
        if self in self.process.sessions:
            self.process.sessions.discard(self)
            self.app.touch()
            self.gateway.closed(self, clean=clean)


@attrs.define(eq=False)
class Question:
    """A resolve that has no answer yet. pinned: its answer is to follow the pin."""

    app: App
    message: packets.Message
    since: float
    done: trio.Event = attrs.field(factory=trio.Event)
    answer: Answer | None = None

    def answered(self, answer: Answer) -> None:
        self.answer = answer
        self.done.set()


@attrs.define(eq=False)
class DayGateway:
    """One life of a gateway. table: what runs, by run id: content and state."""

    world: World
    path: str
    name: str
    leaving: bool = False
    up: bool = False
    gone: bool = False
    up_since: float = 0.0
    table: dict[str, tuple[str, str]] = attrs.field(factory=dict)
    sessions: dict[str, Session] = attrs.field(factory=dict)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _sock: socket.socket | None = None
    _asked: dict[int, Question] = attrs.field(factory=dict)
    _abandoned: dict[int, str] = attrs.field(factory=dict)
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))
    _counts: dict[str, list[int]] = attrs.field(factory=dict)  # sockets, requests ever; by run
    _changed: set[str] = attrs.field(factory=set)
    _left: list[tuple[str, bool]] = attrs.field(factory=list)
    _report: trio.Event = attrs.field(factory=trio.Event)
    _unsent: deque[packets.Message] = attrs.field(factory=deque)
    _blocked: trio.Event = attrs.field(factory=trio.Event)
    _named: set[str] = attrs.field(factory=set)
    _expected: int = -1

    async def run(self) -> None:
        """Serve until `die`, over the lives of any number of cores."""
        with self.scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._report_changes)
                while True:
                    await self._connect()
                    await trio.sleep(self.world.random.uniform(0.05, 0.5))

    def die(self) -> None:
        """End at once, with all connections."""
        self.gone, self.up = True, False
        self.scope.cancel()
        if self._sock is not None:
            self._sock.close()
        for question in list(self._asked.values()):
            question.done.set()
        for session in list(self.sessions.values()):
            session.ends("gateway")

    @property
    def busy(self) -> bool:
        """Whether somebody waits for an answer."""
        return bool(self._asked)

    # -- for visitors ---------------------------------------------------------------------------

    async def ask(
        self, app: App, want: str, visitor: str, run: RunId | None, seat: str | None = None
    ) -> Answer:
        """Put a question; where the core is away, to the next one, or follow a good pin.

        Raises GatewayGone. Cancelled: a seat that is granted later is given back.
        """
        number = next(self._numbers)
        message = {"type": "resolve", "id": number, "content": app.guid, "want": want}
        message |= {"visitor": visitor, "run": run}
        if seat is not None:
            message["seat"] = seat
        if not self.up and self._knows(run, want):
            return {"as": "worker", "run": run, "granted": False}
        question = self._asked[number] = Question(app, message, trio.current_time())
        if self.up:
            self._send(message)
        try:
            await question.done.wait()
        except trio.Cancelled:
            if question.answer is None:
                self.say("forget", id=number)
                if seat is not None:
                    self._abandoned[number] = seat
            elif seat is not None and question.answer["as"] == "worker":
                self._vacate(seat, clean=True)
            raise
        finally:
            self._asked.pop(number, None)
        if question.answer is None:
            raise GatewayGone
        return question.answer

    def _knows(self, run: RunId | None, want: str) -> bool:
        return run in self.table and want in ("page", "socket")

    def seat_name(self) -> str:
        """Make a name for a seat."""
        return f"{self.name}-{next(self._numbers)}"

    def visited(self, run: RunId) -> None:
        """Count a request that a process has answered."""
        self._count(run)[1] += 1
        self._mark(run)

    def opens(self, app: App, seat: str, visitor: str, run: RunId) -> Session | None:
        """Connect a granted (or pinned) WebSocket with its process; None where that has ended."""
        process = app.processes.get(run)
        if process is None or not process.answered or self.gone:
            self._vacate(seat, clean=True)
            return None
        session = Session(app, process, seat, visitor, self, trio.current_time())
        process.sessions.add(session)
        self.sessions[seat] = session
        self._count(run)[0] += 1
        self._count(run)[1] += 1
        self._mark(run)
        app.touch()
        return session

    def closed(self, session: Session, *, clean: bool) -> None:
        """Note the end of a session."""
        del self.sessions[session.seat]
        self._count(session.process.id)[0] -= 1
        self._mark(session.process.id)
        self._vacate(session.seat, clean=clean)

    def say(self, kind: str, **fields: object) -> None:
        """Tell the core something, if there is one."""
        if self.up:
            self._send({"type": kind, **fields})

    def _vacate(self, seat: str, *, clean: bool) -> None:
        self._left.append((seat, clean))
        self._report.set()

    def _count(self, run: str) -> list[int]:
        return self._counts.setdefault(run, [0, 0])

    def _mark(self, run: str) -> None:
        self._changed.add(run)
        self._report.set()

    # -- the link -------------------------------------------------------------------------------

    async def _connect(self) -> None:
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._sock.setblocking(False)
        self._unsent.clear()
        try:
            self._sock.connect(self.path)
            hello = {"type": "hello", "v": packets.VERSION, "pid": 1, "gateway": self.name}
            self._send(hello)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._send_rest, self._sock)
                await self._receive(self._sock)
                nursery.cancel_scope.cancel()
        except OSError:
            pass
        finally:
            self._sock.close()
            self.up = False
        for number, question in list(self._asked.items()):
            message = question.message
            if self._knows(message["run"], message["want"]):
                del self._asked[number]
                question.answered({"as": "worker", "run": message["run"], "granted": False})

    async def _receive(self, sock: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                packet = packets.receive(sock)
            except BlockingIOError:
                continue
            if packet is None:
                return
            message, fds = packet
            for fd in fds:
                os.close(fd)
            self.world.figures["messages"] += 1
            self._take(message)

    def _take(self, message: packets.Message) -> None:
        match message["type"]:
            case "hello":
                self._greeted(int(message["workers"]))
            case "worker":
                self.table[message["run"]] = (message["content"], message["state"])
                self._named.add(message["run"])
                self._expected -= 1
                self._settle()
            case "gone":
                self.table.pop(message["run"], None)
            case "answer":
                self._answered(message)
            case "end":
                session = self.sessions.get(message["seat"])
                if session is not None:
                    session.ends("core")

    def _greeted(self, workers: int) -> None:
        self.up, self.up_since = True, trio.current_time()
        self._named, self._expected = set(), workers
        self._settle()
        self._tell_picture()
        self._abandoned.clear()
        for question in list(self._asked.values()):
            self._send(question.message)

    def _settle(self) -> None:
        """Once the opening picture is complete, forget the runs that are not in it."""
        if self._expected == 0:
            self.table = {run: known for run, known in self.table.items() if run in self._named}

    def _answered(self, message: packets.Message) -> None:
        number = message["id"]
        question = self._asked.pop(number, None)
        seat = self._abandoned.pop(number, None)
        if question is not None:
            rules.answered(self.world, self, question, message)
            question.answered(message)
        elif seat is not None and message["as"] == "worker":
            self._vacate(seat, clean=True)

    def _tell_picture(self) -> None:
        """Tell a new core everything; what has ended before is simply not in it."""
        self._left.clear()
        self._changed.clear()
        now = trio.current_time()
        seats = [
            [seat, session.process.id, session.visitor, now - session.since]
            for seat, session in self.sessions.items()
        ]
        for message in activity.picture(self._told(set(self._counts)), seats):
            self._send(message)

    async def _report_changes(self) -> None:
        while True:
            await self._report.wait()
            await trio.sleep(REPORT)
            self._report = trio.Event()
            if not self.up:
                continue
            for message in activity.changes(self._told(self._changed), self._left):
                self._send(message)
            self._changed.clear()
            self._left.clear()

    def _told(self, runs: set[str]) -> dict[str, dict[str, int]]:
        told = {}
        for run in sorted(runs):
            sockets, total = self._counts[run]
            told[run] = {"sockets": sockets, "requests": 0, "total": total}
            if not sockets and run not in self.table:
                del self._counts[run]
        return told

    def _send(self, message: packets.Message) -> None:
        self.world.figures["messages"] += 1
        assert self._sock is not None
        if not self._unsent:
            try:
                packets.send(self._sock, message)
                return
            except BlockingIOError:
                pass
            except OSError:
                return  # the receiving side learns that the core is gone
        self._unsent.append(message)
        self._blocked.set()

    async def _send_rest(self, sock: socket.socket) -> None:
        while True:
            await self._blocked.wait()
            while self._unsent:
                try:
                    packets.send(sock, self._unsent[0])
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(sock)
                    continue
                except OSError:
                    return  # the receiving side learns that the core is gone
                self._unsent.popleft()
            self._blocked = trio.Event()
