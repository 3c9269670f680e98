"""Open connections to workers and to the core: to a socket of the expected owner, or to the address
that the core has named.
"""

from __future__ import annotations

import os
import socket
from typing import Protocol

from supervisor import packets, unixsocket
from supervisor.errors import SupervisorError
from supervisor.gateway.dial import Dial
from supervisor.gateway.loop import IN, Loop, Timer
from supervisor.gateway.sessions import Worker

CONNECT_SECONDS = 5.0
_AGAIN = 0.02  # seconds between attempts at a socket whose queue is full


class Caller(Protocol):
    """Whoever wants a connection; told exactly once unless forgotten."""

    def plugged(self, sock: socket.socket) -> None:
        """Take the connected, non-blocking socket."""

    def unconnected(self, code: str, reason: str) -> None:
        """Learn that there is none."""


class Connector:
    """Connect to workers by descriptor, by address or through the helper, to the core by path."""

    def __init__(self, loop: Loop, core_path: str, helper_path: str) -> None:
        self._loop = loop
        self._core_path = core_path
        self._helper = HelperDoor(loop, helper_path)
        self._waiting: dict[Caller, Timer] = {}
        self._dialling: dict[Caller, Dial] = {}

    def open(self, worker: Worker | None, caller: Caller) -> None:
        """Connect, now or within CONNECT_SECONDS; worker None is the core."""
        if worker is not None and worker.address is not None:
            self._dial(worker.address, worker.secret, caller)
        elif worker is not None and worker.inside:
            self._helper.connect(worker.run, caller)
        else:
            self._attempt(worker, caller, self._loop.now + CONNECT_SECONDS)

    def forget(self, caller: Caller) -> None:
        """Connect no more for this caller; unknown is fine."""
        timer = self._waiting.pop(caller, None)
        if timer is not None:
            timer.cancel()
        dial = self._dialling.pop(caller, None)
        if dial is not None:
            dial.cancel()
        self._helper.forget(caller)

    def _dial(self, address: tuple[str, int], secret: str, caller: Caller) -> None:
        def connected(sock: socket.socket) -> None:
            del self._dialling[caller]
            caller.plugged(sock)

        def failed(reason: str) -> None:
            del self._dialling[caller]
            caller.unconnected("unavailable", f"connecting failed: {reason}")

        self._dialling[caller] = Dial(
            self._loop, address, secret, CONNECT_SECONDS, connected, failed
        )

    def _attempt(self, worker: Worker | None, caller: Caller, until: float) -> None:
        self._waiting.pop(caller, None)
        try:
            if worker is None:
                sock = unixsocket.connect_path(self._core_path)
            elif worker.directory < 0:
                raise SupervisorError("unavailable", "the run is gone")
            else:
                sock = unixsocket.connect(worker.directory, worker.name, worker.uid)
        except BlockingIOError:
            if self._loop.now > until:
                caller.unconnected("unavailable", "it does not accept connections")
            else:
                self._waiting[caller] = self._loop.later(
                    _AGAIN, lambda: self._attempt(worker, caller, until)
                )
        except SupervisorError as error:
            caller.unconnected(error.code, error.message)
        except PermissionError as error:
            if worker is None:
                caller.unconnected("unavailable", str(error))
            else:
                self._helper.connect(worker.run, caller)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            caller.unconnected("unavailable", f"connecting failed: {reason}")
        else:
            caller.plugged(sock)


class HelperDoor:
    """helper-connect.sock: sockets that we cannot open come from the helper."""

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self._path = path
        self._sock: socket.socket | None = None
        self._asked: dict[int, Caller] = {}
        self._last = 0

    def connect(self, run: str, caller: Caller) -> None:
        """Ask for one connected socket to a run."""
        self._last += 1
        number = self._last
        self._asked[number] = caller
        try:
            packets.send(self._door(), {"type": "connect", "id": number, "run": run})
        except OSError as error:
            self._end(f"the helper cannot be asked: {error.strerror}")
        else:
            self._loop.later(CONNECT_SECONDS, lambda: self._too_late(number))

    def forget(self, caller: Caller) -> None:
        """Close what the helper sends for this caller."""
        for number in [number for number, asker in self._asked.items() if asker is caller]:
            del self._asked[number]

    def event(self, mask: int) -> None:
        """Take one answer."""
        assert self._sock is not None
        try:
            packet = packets.receive(self._sock)
        except BlockingIOError:
            return
        except (OSError, packets.BadPacket) as error:
            self._end(f"the helper's link broke: {error}")
            return
        if packet is None:
            self._end("the helper closed its link")
            return
        message, fds = packet
        number = message.get("id")
        caller = self._asked.pop(number, None) if isinstance(number, int) else None
        if caller is not None and message["type"] == "ok" and fds:
            sock = socket.socket(fileno=fds.pop(0))
            sock.setblocking(False)
            caller.plugged(sock)
        elif caller is not None:
            code = message.get("code")
            swapped = "socket-swapped" if code == "socket-swapped" else "unavailable"
            caller.unconnected(swapped, str(message.get("message") or "the helper refused"))
        for fd in fds:
            os.close(fd)
        if number == 0 and message["type"] == "error":
            self._end(str(message.get("message") or "the helper speaks another version"))

    def crashed(self) -> None:
        """Begin anew with the next question."""
        self._end("the helper's link failed")

    def _door(self) -> socket.socket:
        if self._sock is None:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
            try:
                sock.connect(self._path)
                packets.send(sock, {"type": "hello", "id": 0, "v": packets.VERSION})
            except BaseException:
                sock.close()
                raise
            self._sock = sock
            self._loop.watch(sock.fileno(), IN, self)
        return self._sock

    def _too_late(self, number: int) -> None:
        caller = self._asked.pop(number, None)
        if caller is not None:
            caller.unconnected("unavailable", "the helper did not connect in time")

    def _end(self, reason: str) -> None:
        if self._sock is not None:
            self._loop.close(self._sock)
            self._sock = None
        asked, self._asked = self._asked, {}
        for caller in asked.values():
            caller.unconnected("unavailable", reason)
