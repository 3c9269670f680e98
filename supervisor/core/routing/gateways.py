"""One connected gateway: what is to be told to it, in order, and what it has told us."""

from __future__ import annotations

import math
import os
import socket
from collections import deque
from contextlib import suppress

import attrs
import trio

from supervisor import packets, unixsocket
from supervisor.core.scheduling.keeper import Keeper
from supervisor.log import Log

SEND_LIMIT = 10.0  # seconds for which a gateway may take nothing before it is given up
FIGURES = 4  # of a seat: seconds of silence of client and worker, bytes in and out
MOST_WAITING = 10_000  # messages that a gateway may be behind, and visitors that wait in it


@attrs.define(eq=False)
class Usage:
    """An answer to `tell`, which comes in parts."""

    seats: dict[str, list[float]] = attrs.field(factory=dict)
    complete: trio.Event = attrs.field(factory=trio.Event)


@attrs.define(eq=False)
class Gateway:
    """A gateway's link. counts: sockets and requests by run; answers: its
    answers so far by the first digit of their status; seats: its open ones; told_of: what it was
    told last of each run.

    picture: the seats it has named of a complete picture that is still coming, or None. questions:
    by their ids, those that are not answered yet.
    """

    sock: socket.socket
    log: Log
    name: str = ""
    counts: dict[str, tuple[int, int]] = attrs.field(factory=dict)
    totals: dict[str, int] = attrs.field(factory=dict)
    answers: dict[str, int] = attrs.field(factory=dict)
    seats: dict[str, Keeper] = attrs.field(factory=dict)
    told_of: dict[str, object] = attrs.field(factory=dict)
    picture: set[str] | None = None
    questions: dict[object, trio.CancelScope] = attrs.field(factory=dict)
    _usage: dict[int, Usage] = attrs.field(factory=dict)
    _queue: deque[tuple[packets.Message, str | None]] = attrs.field(factory=deque)
    _filled: trio.Event = attrs.field(factory=trio.Event)
    _asked: int = 0

    def send(self, message: packets.Message, *, directory: str | None = None) -> None:
        """Queue a message for `send_all`; its directory is opened when it is sent."""
        if len(self._queue) < MOST_WAITING:
            self._queue.append((message, directory))
            self._filled.set()
        else:
            self.hang_up()

    def hang_up(self) -> None:
        """End the link; its receiving task sees the end."""
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)

    async def ask_usage(self) -> dict[str, list[float]]:
        """Ask how its open seats are used: seat → seconds of silence, bytes. Cancel it."""
        self._asked += 1
        number = self._asked
        usage = self._usage[number] = Usage()
        try:
            self.send({"type": "tell", "id": number})
            await usage.complete.wait()
        finally:
            del self._usage[number]
        return usage.seats

    def told(self, message: packets.Message) -> None:
        """Take an answer to ask_usage, or a part of one."""
        usage = self._usage.get(int(message.get("id", 0)))
        if usage is None:
            return
        for seat, *given in message.get("seats", ()):
            figures = [float(figure) for figure in given]
            if len(figures) == FIGURES and all(map(math.isfinite, figures)):
                usage.seats[str(seat)] = figures
        if not message.get("more"):
            usage.complete.set()

    async def send_all(self) -> None:
        """Send what is queued, whenever the gateway takes it, until cancelled.

        Nothing more is sent from then on: a core that ends ends its tasks, and no gateway may take
        that for the end of their processes.
        """
        while True:
            if not self._queue:
                self._filled = trio.Event()
                await self._filled.wait()
            await trio.lowlevel.checkpoint_if_cancelled()
            while self._queue:
                if self._sent(*self._queue[0]):
                    self._queue.popleft()
                    continue
                with trio.move_on_after(SEND_LIMIT) as limit:
                    await trio.lowlevel.wait_writable(self.sock)
                if limit.cancelled_caught:
                    self.log.error("gateway-does-not-read", waiting=len(self._queue))
                    self.hang_up()

    def _sent(self, message: packets.Message, directory: str | None) -> bool:
        """Send a message, or drop one that cannot be sent; False where it has to wait."""
        fds: tuple[int, ...] = ()
        try:
            if directory is not None:
                fds = (unixsocket.open_directory(directory),)
        except OSError as error:  # it has gone meanwhile
            self.told_of.pop(message["run"], None)
            self.log.warning("run-directory-gone", run=message["run"], error=str(error))
            return True
        try:
            packets.send(self.sock, message, fds)
        except BlockingIOError:
            return False
        except ValueError as error:
            self.log.error("answer-not-sent", exc=error, type=message["type"])
        except OSError:
            self.hang_up()
        finally:
            for fd in fds:
                os.close(fd)
        return True
