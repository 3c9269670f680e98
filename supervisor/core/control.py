"""The core's side of the link to the parent: ready, beats, orders."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
from collections.abc import Callable

import attrs
import trio

from supervisor import packets
from supervisor.log import Log

BEAT_EACH = 1.0


@attrs.define(eq=False)
class Control:
    """Speak with the parent; without one (sock None) the core just runs until cancelled.

    stop is set, with `seconds`, when the parent wants an orderly end; gone when the parent is dead.
    """

    sock: socket.socket | None
    log: Log
    previous: Callable[[str, str], None] = lambda exit_, trace: None
    stop: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    seconds: float = 8.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Beat, and take orders, until the parent is gone."""
        task_status.started()
        if self.sock is None:
            await trio.sleep_forever()
            return
        self.sock.setblocking(False)
        await self.say({"type": "hello", "v": packets.VERSION})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._beat)
            await self._listen(self.sock)
            nursery.cancel_scope.cancel()

    async def say(self, message: packets.Message) -> None:
        """Tell the parent something; it being gone is no error here."""
        if self.sock is None:
            return
        while True:
            try:
                packets.send(self.sock, message)
                return
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.sock)
            except OSError:
                self.gone.set()
                return

    async def _beat(self) -> None:
        while True:
            await self.say({"type": "beat"})
            await trio.sleep(BEAT_EACH)

    async def _listen(self, sock: socket.socket) -> None:
        while True:
            await trio.lowlevel.wait_readable(sock)
            try:
                packet = packets.receive(sock)
            except BlockingIOError:
                continue
            except (OSError, packets.BadPacket) as error:
                self.log.error("control-broke", error=str(error))
                packet = None
            if packet is None:
                self.gone.set()
                return
            message, fds = packet
            for fd in fds:
                os.close(fd)
            if message["type"] == "stop":
                self.seconds = float(message.get("seconds", self.seconds))
                self.stop.set()
            elif message["type"] == "previous":
                self.previous(str(message.get("exit", "")), str(message.get("trace", "")))


def dump_stacks_on_signal(trace: int | None) -> None:
    """Write the stacks of all threads to the descriptor whenever SIGUSR2 comes.

    Works while Python code holds the loop, which is just when the parent asks for it.
    """
    if trace is not None:
        faulthandler.register(signal.SIGUSR2, file=trace, all_threads=True, chain=False)
