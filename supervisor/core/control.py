"""The core's side of the link to the parent: ready, beats, orders."""

from __future__ import annotations

import faulthandler
import os
import signal
import socket
from collections.abc import Callable, Mapping

import attrs
import trio

from supervisor import packets
from supervisor.errors import CODES, SupervisorError
from supervisor.log import Log
from supervisor.settings import Settings
from supervisor.sink import redirect

BEAT_EACH = 1.0


class _Asked:
    """What somebody waits for that the parent does: a reload, or that it opens the logs again."""

    def __init__(self) -> None:
        self.answered = trio.Event()
        self.answer: packets.Message = {}
        self.refusal: SupervisorError | None = None


@attrs.define(eq=False)
class Control:
    """Speak with the parent; without one (sock None) the core just runs until cancelled.

    stop is set, with `seconds`, when the parent wants an orderly end; leave when another core will
    take over, so that all runs stay; ending with either; gone when the parent is dead. parts: the
    "pids" of the server's processes by their names, and how many "starts" each has had.
    """

    sock: socket.socket | None
    log: Log
    previous: Callable[[str, str], None] = lambda exit_, trace: None
    configured: Callable[[Settings], None] = lambda settings: None
    stop: trio.Event = attrs.field(factory=trio.Event)
    leave: trio.Event = attrs.field(factory=trio.Event)
    ending: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    seconds: float = 8.0
    parts: dict[str, dict[str, int]] = attrs.field(factory=dict)
    _asked: _Asked | None = attrs.field(init=False, default=None)
    _reopening: _Asked | None = attrs.field(init=False, default=None)
    _configuring: _Asked | None = attrs.field(init=False, default=None)

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

    async def reload(self) -> None:
        """Ask the parent to replace all parts in place; returns once it has begun.

        Raises SupervisorError("not-reloaded") where the new code or the settings do not hold, and
        "unavailable" where there is no parent or a reload is under way. Cancelled, it goes on.
        """
        if self.sock is None:
            raise SupervisorError("unavailable", "this core runs without a parent")
        if self._asked is not None:
            raise SupervisorError("unavailable", "a reload is under way", recoverable=True)
        asked = self._asked = _Asked()
        try:
            await self.say({"type": "reload"})
            await asked.answered.wait()
        finally:
            self._asked = None
        if asked.refusal is not None:
            raise asked.refusal

    async def configure(self) -> packets.Message:
        """Let the parent read the settings file again; give what is in force now and what waits.

        `configured` is called first. Raises SupervisorError where the file does not hold: then
        nothing has changed.
        """
        if self.sock is None:
            raise SupervisorError("unavailable", "this core runs without a parent")
        if self._configuring is None:  # else whoever came before us gets the answer for both
            self._configuring = _Asked()
            await self.say({"type": "configure"})
        asked = self._configuring
        await asked.answered.wait()
        if asked.refusal is not None:
            raise asked.refusal
        return asked.answer

    async def reopen_logs(self) -> None:
        """Let the parent open the files of all logs again.

        Raises SupervisorError("log-unusable") where one of them could not be: it stays as it was.
        """
        if self.sock is None:
            raise SupervisorError("unavailable", "this core runs without a parent")
        if self._reopening is None:  # else whoever came before us gets the answer for both
            self._reopening = _Asked()
            await self.say({"type": "reopen-logs"})
        asked = self._reopening
        await asked.answered.wait()
        if asked.refusal is not None:
            raise asked.refusal

    async def audit(self, record: Mapping[str, object]) -> None:
        """Let the parent write a line of the audit log; returns once it is on its way."""
        await self.say({"type": "audit", "record": dict(record)})

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
            if message["type"] == "logs" and fds:
                redirect(fds.pop(0))  # the service log, which comes first
            if message["type"] == "settings" and fds:
                self._configure(fds.pop(0))
            for fd in fds:
                os.close(fd)
            self._take(message)

    def _configure(self, fd: int) -> None:
        try:
            settings = Settings.read(fd)
        except (ValueError, SupervisorError) as error:  # of a parent of another version
            self.log.error("settings", problem=str(error))
            return
        self.log.form, self.log.level = settings.log_form, settings.log_level
        self.configured(settings)

    def _take(self, message: packets.Message) -> None:
        match message["type"]:
            case "stop":
                self.seconds = float(message.get("seconds", self.seconds))
                self.stop.set()
                self.ending.set()
            case "leave":
                self.leave.set()
                self.ending.set()
            case "previous":
                self.previous(str(message.get("exit", "")), str(message.get("trace", "")))
            case "parts":
                for name in ("pids", "starts"):
                    if isinstance(given := message.get(name), dict):
                        self.parts[name] = {str(part): int(found) for part, found in given.items()}
            case "reopened-logs" if self._reopening is not None:
                asked, self._reopening = self._reopening, None
                if not message.get("ok"):
                    reason = str(message.get("reason", ""))
                    asked.refusal = SupervisorError("log-unusable", reason)
                asked.answered.set()
            case "configured" if self._configuring is not None:
                asked, self._configuring = self._configuring, None
                asked.answer = message
                if not message.get("ok"):
                    asked.refusal = _refusal(message)
                asked.answered.set()
            case "reloading" if self._asked is not None:
                self._asked.answered.set()
            case "reloaded" if self._asked is not None:
                if not message.get("ok"):
                    reason, hint = str(message.get("reason", "")), str(message.get("hint", ""))
                    self._asked.refusal = SupervisorError("not-reloaded", reason, hint=hint)
                self._asked.answered.set()


def _refusal(message: packets.Message) -> SupervisorError:
    code = str(message.get("code"))
    return SupervisorError(
        code if code in CODES else "settings-invalid",
        str(message.get("reason", "")),
        hint=str(message.get("hint", "")),
    )


def dump_stacks_on_signal(trace: int | None) -> None:
    """Write the stacks of all threads to the descriptor whenever SIGUSR2 comes.

    Works while Python code holds the loop, which is just when the parent asks for it.
    """
    if trace is not None:
        faulthandler.register(signal.SIGUSR2, file=trace, all_threads=True, chain=False)
