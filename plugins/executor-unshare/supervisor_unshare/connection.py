"""The core's end of helper.sock: requests and answers by id, events, and connecting again."""

from __future__ import annotations

import itertools
import json
import os
import socket
from collections.abc import Callable
from typing import Any

import trio

from supervisor import SupervisorError, packets

_PATIENCE = 5.0  # seconds that a request waits for a helper that is away
_ANSWER_TIME = 60.0  # seconds for one answer
_RETRY_FIRST, _RETRY_MOST = 0.02, 1.0


class _Gone(Exception):
    """The connection broke before the answer came."""


class _Pending:
    def __init__(self) -> None:
        self.done = trio.Event()
        self.message: packets.Message | None = None
        self.fds: list[int] = []


class Connection:
    """A connection to the helper that comes back by itself while `serve` runs.

    connected is called with the answer to `hello` after each connect, before any request goes out;
    event with each message that answers nothing.
    """

    def __init__(
        self,
        path: str,
        *,
        connected: Callable[[packets.Message], None],
        event: Callable[[packets.Message], None],
    ) -> None:
        self._path = path
        self._connected = connected
        self._event = event
        self._sock: socket.socket | None = None
        self._up = trio.Event()
        self._ids = itertools.count(1)
        self._pending: dict[int, _Pending] = {}
        self._sending = trio.Lock()

    async def serve(self, first: Callable[[], None]) -> None:
        """Connect, and connect again whenever the helper goes, until cancelled.

        first is called once, when the first connection stands. A helper that speaks another version
        raises SupervisorError.
        """
        delay = _RETRY_FIRST
        while True:
            try:
                sock = await self._connect()
            except OSError:
                await trio.sleep(delay)
                delay = min(2 * delay, _RETRY_MOST)
                continue
            delay = _RETRY_FIRST
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._greet, sock, first)
                    await self._read(sock)
                    nursery.cancel_scope.cancel()
            finally:
                self._down(sock)

    async def request(self, verb: str, **fields: Any) -> tuple[packets.Message, list[int]]:
        """Ask and give the answer with its descriptors, which are the caller's now.

        All verbs may be asked again, so a request whose helper went away is repeated once. Raises
        SupervisorError: the helper's own, or helper-unavailable. Cancelled, the request stands.
        """
        for _ in range(2):
            with trio.move_on_after(_PATIENCE):
                await self._up.wait()
            if self._sock is None:
                break
            try:
                return await self._ask(self._sock, verb, fields)
            except _Gone:
                continue
        raise SupervisorError(
            "helper-unavailable",
            f"the helper did not answer {verb!r}",
            hint=f"It listens at {self._path} and is restarted by the parent; see the service log.",
            recoverable=True,
        )

    async def _connect(self) -> socket.socket:
        sock = socket.socket(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        try:
            while True:
                try:
                    sock.connect(self._path)
                except BlockingIOError:  # its queue is full
                    await trio.sleep(_RETRY_FIRST)
                else:
                    return sock
        except BaseException:
            sock.close()
            raise

    async def _greet(self, sock: socket.socket, first: Callable[[], None]) -> None:
        try:
            answer, fds = await self._ask(sock, "hello", {"v": packets.VERSION})
        except _Gone:
            return
        _close_all(fds)
        self._sock = sock
        self._connected(answer)
        self._up.set()
        first()

    async def _ask(
        self, sock: socket.socket, verb: str, fields: dict[str, Any]
    ) -> tuple[packets.Message, list[int]]:
        number = next(self._ids)
        pending = self._pending[number] = _Pending()
        try:
            await self._send(sock, {"type": verb, "id": number, **fields})
            with trio.move_on_after(_ANSWER_TIME):
                await pending.done.wait()
            if pending.message is None:
                raise _Gone
            if pending.message["type"] == "error":
                raise _error(pending.message)
        except BaseException:
            _close_all(pending.fds)
            raise
        finally:
            del self._pending[number]
        return pending.message, pending.fds

    async def _send(self, sock: socket.socket, message: packets.Message) -> None:
        async with self._sending:
            while True:
                try:
                    packets.send(sock, message)
                    return
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(sock)
                except OSError:
                    raise _Gone from None
                except ValueError as error:
                    raise SupervisorError(
                        "job-refused",
                        f"the request {message['type']!r} is too large: {error}",
                        hint="Shorten the arguments or the environment of the content.",
                    ) from None

    async def _read(self, sock: socket.socket) -> None:
        while True:
            try:
                packet = packets.receive(sock)
            except BlockingIOError:
                await trio.lowlevel.wait_readable(sock)
                continue
            except (OSError, packets.BadPacket):
                return
            if packet is None:
                return
            self._received(*packet)

    def _received(self, message: packets.Message, fds: list[int]) -> None:
        if message.get("memfd"):
            with os.fdopen(fds.pop(0), "rb") as file:
                file.seek(0)
                message = json.loads(file.read())
        if message["type"] not in ("ok", "error"):
            _close_all(fds)
            self._event(message)
            return
        pending = self._pending.get(message.get("id", 0))
        if pending is None:  # whoever asked has been cancelled
            _close_all(fds)
            return
        pending.message, pending.fds = message, fds
        pending.done.set()

    def _down(self, sock: socket.socket) -> None:
        if self._sock is sock:
            self._sock = None
            self._up = trio.Event()
        sock.close()
        for pending in self._pending.values():
            pending.done.set()


def _error(message: packets.Message) -> SupervisorError:
    return SupervisorError(
        message.get("code", "internal"), message.get("message", ""), hint=message.get("hint", "")
    )


def _close_all(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)
