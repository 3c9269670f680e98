"""FakeApi: an API server that answers as a test tells it, also by misbehaving."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import attrs
import trio
from supervisor_executor_kubernetes.access import Access, Token
from supervisor_executor_kubernetes.client import Client
from supervisor_executor_kubernetes.transport import TimeLimits

Answer = Callable[["Asked", trio.SocketStream], Awaitable[None]]

REASONS = {200: "OK", 201: "Created"}


@attrs.frozen
class Asked:
    """One request, as the server read it."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any


class FakeApi:
    """Listens on loopback; each request takes the next of `answers`, the last one for ever."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.asked: list[Asked] = []
        self.open = 0  # connections of this moment
        self.idle = trio.Event()  # set while there is none
        self.port = 0

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        assert isinstance(listener, trio.SocketListener)
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._connection, [listener])

    def client(self, **settings: Any) -> Client:
        """A client of this server, with short time limits."""
        settings.setdefault("limits", TimeLimits(connect=1, read=1, whole=5))
        settings.setdefault("random", Random(1))
        access = Access(
            server=f"http://127.0.0.1:{self.port}", tls=None, token=Token(value="secret")
        )
        return Client(access, **settings)

    async def _connection(self, stream: trio.SocketStream) -> None:
        self.open += 1
        self.idle = trio.Event()
        try:
            while asked := await _read(stream):
                self.asked.append(asked)
                answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
                await answer(asked, stream)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1
            if not self.open:
                self.idle.set()


async def _read(stream: trio.SocketStream) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = await stream.receive_some()
        if not chunk:
            return None
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    first, *rest = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (i.partition(":") for i in rest)}
    while len(body) < int(headers.get("content-length", 0)):
        body += await stream.receive_some()
    method, target, _ = first.split(" ")
    return Asked(method, target, headers, json.loads(body) if body else None)


def says(status: int, body: object = None, **headers: str) -> Answer:
    """Answer with this status and JSON; bytes are sent as they are."""

    async def answer(asked: Asked, stream: trio.SocketStream) -> None:
        sent = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'No')}", f"Content-Length: {len(sent)}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await stream.send_all("\r\n".join([*lines, "", ""]).encode() + sent)

    return answer


def streams(*parts: object, then: Answer | None = None) -> Answer:
    """Answer 200 with these JSON lines (bytes as they are), one chunk each, and end well.

    then: what to do instead of ending.
    """

    async def answer(asked: Asked, stream: trio.SocketStream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for part in parts:
            data = part if isinstance(part, bytes) else json.dumps(part).encode() + b"\n"
            await stream.send_all(f"{len(data):x}\r\n".encode() + data + b"\r\n")
        if then is not None:
            await then(asked, stream)
        else:
            await stream.send_all(b"0\r\n\r\n")

    return answer


async def silence(asked: Asked, stream: trio.SocketStream) -> None:
    """Answer nothing and keep the connection, until the client closes it."""
    while await stream.receive_some():
        pass


async def reset(asked: Asked, stream: trio.SocketStream) -> None:
    """Break the connection."""
    await stream.aclose()
