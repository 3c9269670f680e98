"""The link to the core: who may go where, what is live, what goes on. Outlives any one core."""

from __future__ import annotations

import errno
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from supervisor import packets
from supervisor.gateway import activity
from supervisor.gateway.frames import GOING_AWAY
from supervisor.gateway.loop import IN, OUT, Loop
from supervisor.gateway.seats import Seats
from supervisor.gateway.sessions import Pins, Sessions, Worker, key_from_hex

Message = dict[str, Any]

ACTIVITY_SECONDS = 0.1
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


class Asker(Protocol):
    """Whoever asked `resolve`."""

    def answered(self, message: Message) -> None:
        """Take the answer; called once."""

    def core_came(self) -> None:
        """Learn that the first core has told its key."""

    def core_left(self) -> None:
        """Learn that the core left without an answer; unless forgotten, the next one is asked."""

    def crashed(self) -> None:
        """Let go of everything after `answered` raised."""


class Link:
    """Ask, answer and report over link.sock; a question outlives the core that it was put to."""

    def __init__(
        self,
        loop: Loop,
        path: str,
        sessions: Sessions,
        pins: Pins,
        seats: Seats,
    ) -> None:
        self.up = False
        self.leaving = False  # another gateway takes over
        self.answers = [0] * 10  # that the gateway has given, by the first digit of their status
        self._told_answers: dict[str, int] = {}
        self.wait = 60  # seconds, until a core has said otherwise
        self._loop = loop
        self._path = path
        self._sessions = sessions
        self._pins = pins
        self._seats = seats
        self._sock: socket.socket | None = None
        self._queue: deque[Message] = deque()
        self._asked: dict[int, tuple[Message, Asker]] = {}
        self._numbers: dict[Asker, int] = {}  # of its question: nobody has two at once
        self._early: list[Asker] = []  # before the first core
        self._abandoned: dict[int, str] = {}  # seats that were asked for and are not wanted
        self._last = 0
        self._pause = _FIRST_PAUSE
        self._reporting = False
        self._expected = -1  # `worker` messages still to come in the core's opening picture
        self._named: set[str] = set()

    # For the exchanges

    def ask(
        self,
        asker: Asker,
        guid: bytes,
        want: str,
        visitor: str,
        run: str | None,
        seat: str | None = None,
        *,
        request: str = "",
    ) -> None:
        """Put a question; where the core is away it is put to the next one."""
        self._last += 1
        message = {
            "type": "resolve", "id": self._last, "content": guid.decode("ascii"), "want": want,
            "visitor": visitor, "run": run, "request": request,
        }  # fmt: skip
        if seat is not None:
            message["seat"] = seat
        self._asked[self._last] = (message, asker)
        self._numbers[asker] = self._last
        if self.up:
            self._send(message)

    def await_core(self, asker: Asker) -> None:
        """Call `core_came` once the first core has said hello."""
        self._early.append(asker)

    def forget(self, asker: Asker) -> None:
        """Drop the question of an asker; a seat that is still granted is given back at once."""
        number = self._numbers.pop(asker, None)
        if number is not None:
            message, _ = self._asked.pop(number)
            if self.up:  # else nobody answers it
                self._send({"type": "forget", "id": number})
                if "seat" in message:
                    self._abandoned[number] = str(message["seat"])
        if asker in self._early:
            self._early.remove(asker)

    def vacate(self, seat: str, clean: bool) -> None:
        """Report, soon, that a seat is free."""
        self._seats.leave(seat, clean)
        self.report()

    def silent(self, seat: str, which: str, seconds: float) -> None:
        """Report a silence that is over the limit `which`."""
        if self.up:
            self._send({"type": "silent", "seat": seat, "which": which, "seconds": seconds})

    def unreachable(self, worker: Worker, reason: str) -> None:
        """Tell the core that connecting to a worker failed."""
        if self.up:
            self._send({"type": "unreachable", "run": worker.run, "reason": reason})

    def retry(self, guid: bytes) -> None:
        """Tell the core that a visitor asks for another try of a content that failed."""
        if self.up:
            self._send({"type": "retry", "content": guid.decode("ascii")})

    def report(self) -> None:
        """Report what has changed, soon: at most ten times a second."""
        if not self._reporting:
            self._reporting = True
            self._loop.later(ACTIVITY_SECONDS, self._report)

    # The connection

    def connect(self) -> None:
        """Connect, and again whenever the core is gone."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        try:
            sock.connect(self._path)
        except OSError as error:
            sock.close()
            if self._pause == _LONGEST_PAUSE / 2 and error.errno != errno.EAGAIN:
                self._loop.log.warning("core-away", reason=error.strerror)
            self._later()
            return
        self._sock = sock
        self._queue.clear()
        self._loop.watch(sock.fileno(), IN, self)
        hello: Message = {"type": "hello", "v": packets.VERSION, "pid": os.getpid()}
        self._send({**hello, "gateway": self._seats.gateway, "leaving": self.leaving})

    def event(self, mask: int) -> None:
        """Take one message, or send what waits."""
        if mask & OUT:
            self._flush()
        if self._sock is None or not mask & ~OUT:
            return
        try:
            packet = packets.receive(self._sock)
        except BlockingIOError:
            return
        except (OSError, packets.BadPacket) as error:
            self._down(str(error))
            return
        if packet is None:
            self._down("the core closed it")
            return
        message, fds = packet
        try:
            self._take(message, fds)
        except (KeyError, TypeError, ValueError) as error:
            self._loop.log.error("link-message-bad", type=message.get("type"), reason=repr(error))
        finally:
            for fd in fds:
                os.close(fd)

    def crashed(self) -> None:
        """Begin anew."""
        self._down("a message crashed us")

    def _later(self) -> None:
        self._loop.later(self._pause, self.connect)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def _down(self, reason: str) -> None:
        if self._sock is not None:
            self._loop.close(self._sock)
            self._sock = None
        was_up, self.up = self.up, False
        self._queue.clear()
        self._later()
        if was_up:
            self._loop.log.warning("core-link-down", reason=reason)
            for _, asker in list(self._asked.values()):
                self._call(asker, asker.core_left)

    def _send(self, message: Message) -> None:
        self._queue.append(message)
        if len(self._queue) == 1:
            self._flush()

    def _flush(self) -> None:
        if self._sock is None:
            return
        while self._queue:
            try:
                packets.send(self._sock, self._queue[0])
            except BlockingIOError:
                self._loop.change(self._sock.fileno(), IN | OUT)
                return
            except OSError:
                return  # the reading side learns that the core is gone
            self._queue.popleft()
        self._loop.change(self._sock.fileno(), IN)

    # Messages of the core

    def _take(self, message: Message, fds: list[int]) -> None:
        kind = message["type"]
        if kind == "hello":
            self._hello(message)
        elif not self.up:
            return
        elif kind == "answer":
            self._answer(message)
        elif kind == "worker":
            self._worker(message, fds)
        elif kind == "gone":
            self._sessions.remove(str(message["run"]))
        elif kind == "end":
            seat = self._seats.open.get(str(message["seat"]))
            if seat is not None and seat.holder is not None:
                seat.holder.end(GOING_AWAY, str(message.get("reason") or ""))
        elif kind == "tell":
            for part in activity.usage(int(message["id"]), self._seats.usage(self._loop.now)):
                self._send(part)

    def _answer(self, message: Message) -> None:
        number = int(message["id"])
        _, asker = self._asked.pop(number, (None, None))
        seat = self._abandoned.pop(number, None)
        if asker is not None:
            del self._numbers[asker]
            self._call(asker, lambda: asker.answered(message))
        elif seat is not None and message.get("as") == "worker":
            self.vacate(seat, True)

    def _call(self, asker: Asker, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:  # one connection's trouble is not the link's
            self._loop.log.error("connection-crashed", exc=error)
            asker.crashed()

    def _hello(self, message: Message) -> None:
        version = message["v"]
        if packets.common(version) is None:
            self._down(f"the core speaks version {version} of the link, we {packets.VERSION}")
            return
        self._pins.rekey(key_from_hex(message["key"]))
        self.wait = max(1, round(float(message["wait"])))
        self.up = True
        self._pause = _FIRST_PAUSE
        self._loop.log.info("core-link-up", core=message.get("core"))
        self._named = set()
        self._expected = int(message.get("workers", -1))
        self._settle()
        self._picture()
        self._abandoned.clear()
        for question, _ in list(self._asked.values()):
            self._send(question)
        early, self._early = self._early, []
        for asker in early:
            self._call(asker, asker.core_came)

    def _worker(self, message: Message, fds: list[int]) -> None:
        run = str(message["run"])
        guid = str(message["content"]).lower().encode("ascii")
        if "address" in message:
            worker = Worker(run, guid, "", -1, -1)
            worker.address, worker.secret = _address(message["address"]), _secret(message)
        elif fds:
            worker = Worker(run, guid, str(message["name"]), int(message["uid"]), fds.pop(0))
            worker.inside = bool(message.get("inside"))
        else:
            raise ValueError("neither an address nor a directory's descriptor")
        worker.draining = message.get("state") == "draining"
        worker.connection = float(message.get("connection") or 0)
        worker.read = float(message.get("read") or 0)
        ends = message.get("ends")
        worker.ends = None if ends is None else self._loop.now + float(ends)
        worker.notice = bool(message.get("notice"))
        if message.get("busy"):
            word, said = message["busy"]
            worker.busy = str(word), float(said)
        self._put(worker)
        self._named.add(run)
        self._expected -= 1
        self._settle()

    def _put(self, worker: Worker) -> None:
        known = self._sessions.workers.get(worker.run)
        limits = (known.connection, known.read) if known is not None else (0.0, 0.0)
        known = self._sessions.put(worker)
        if limits != (known.connection, known.read):
            for seat in list(self._seats.open.values()):
                if seat.worker is known and seat.holder is not None:
                    seat.holder.listen()

    def _settle(self) -> None:
        """Once the opening picture is complete, forget the runs that are not in it."""
        if self._expected == 0:
            self._sessions.keep_only(self._named)
            self._named = set()

    def _picture(self) -> None:
        """Tell a new core everything; what has ended before is simply not in it."""
        self._seats.take_left()
        runs = self._sessions.take_changes(everything=True)
        self._told_answers = self._answers()
        for message in activity.picture(runs, self._seats.picture(self._loop.now)):
            self._send({**message, "answers": self._told_answers})

    def _report(self) -> None:
        self._reporting = False
        left = self._seats.take_left()
        if self.up:  # else the picture for the next core has it, and what is not in it has ended
            messages = list(activity.changes(self._sessions.take_changes(), left))
            answers = self._answers()
            if answers != self._told_answers:
                self._told_answers = answers
                first = messages.pop(0) if messages else {"type": "activity", "runs": {}}
                messages.insert(0, {**first, "answers": answers})
            for message in messages:
                self._send(message)

    def _answers(self) -> dict[str, int]:
        return {str(digit): self.answers[digit] for digit in range(1, 6)}


def _address(given: Any) -> tuple[str, int]:
    """Read host and port. Raises ValueError for anything but numbers: the loop asks no resolver."""
    host, port = str(given[0]), int(given[1])
    try:
        socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except OSError:
        raise ValueError(f"{host!r} is not an address in numbers") from None
    if not 0 < port < 65536:
        raise ValueError(f"{port} is not a port")
    return host, port


def _secret(message: Message) -> str:
    secret = str(message.get("secret") or "")
    if not secret.isascii() or not all(map(str.isprintable, secret)) or " " in secret:
        raise ValueError("the secret is not one word")
    return secret
