"""Exchange: one HTTP/1.1 request on a connection, handed to an ASGI application."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote

import h11
import trio

Message = MutableMapping[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]

READ_SIZE = 65536
BODY_TIMEOUT = 120.0  # seconds without a byte of an upload
_NO_BODY = (204, 304)


class Disconnected(OSError):
    """The client has gone; what ASGI asks `send` to raise."""


class Wire:
    """An h11 connection on a trio stream: events in, bytes out."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.SERVER, max_incomplete_event_size=32768)

    async def next_event(self) -> h11.Event:
        """Read until there is an event. Raises Disconnected, h11.RemoteProtocolError."""
        while True:
            event = self.http.next_event()
            if isinstance(event, h11.Event):
                return event
            if self.http.they_are_waiting_for_100_continue:
                await self.send(h11.InformationalResponse(status_code=100, headers=[]))
            self.http.receive_data(await self._read())

    async def send(self, event: h11.Event) -> None:
        """Write one event. Raises Disconnected."""
        data = self.http.send(event)
        if data:
            try:
                await self.stream.send_all(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise Disconnected("the client has gone") from error

    async def gone(self) -> None:
        """Return when the client closes. Bytes of a next request are kept for it."""
        while data := await self._read():
            self.http.receive_data(data)
            if len(self.http.trailing_data[0]) > READ_SIZE:
                await trio.sleep_forever()  # enough; backpressure for the rest

    def finish(self) -> bool:
        """Take a request's end that nobody asked for; tell whether another request may follow."""
        while self.http.their_state is h11.SEND_BODY and self.http.our_state is h11.DONE:
            if not isinstance(self.http.next_event(), h11.Event):
                break
        return self.http.our_state is h11.DONE and self.http.their_state is h11.DONE

    async def _read(self) -> bytes:
        try:
            return bytes(await self.stream.receive_some(READ_SIZE))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise Disconnected("the client has gone") from error


class Exchange:
    """Give an application its scope, `receive` and `send` for one request."""

    def __init__(self, wire: Wire, request: h11.Request, extensions: dict[str, Any]) -> None:
        self._wire = wire
        self._head: Message | None = None
        self._head_sent = False
        self._body_read = False
        self._expects_body = any(
            name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
            for name, value in request.headers
        )
        self.complete = False
        self._bodiless = request.method == b"HEAD"
        path, _, query = request.target.partition(b"?")
        self.scope: Message = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": request.http_version.decode("ascii"),
            "method": request.method.decode("ascii"),
            "scheme": "http",
            "path": unquote(path.decode("ascii")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": list(request.headers),
            "client": None,
            "server": None,
            "extensions": extensions,
        }

    @property
    def started(self) -> bool:
        """Whether the head of the response is on its way, so that no other can be sent."""
        return self._head_sent

    async def receive(self) -> Message:
        """ASGI's receive: the next piece of the body, then, when the client goes, a disconnect."""
        try:
            if self._body_read:
                await self._wire.gone()
                return {"type": "http.disconnect"}
            with trio.fail_after(BODY_TIMEOUT):
                event = await self._wire.next_event()
        except (Disconnected, trio.TooSlowError, h11.RemoteProtocolError):
            return {"type": "http.disconnect"}
        if isinstance(event, h11.Data):
            return {"type": "http.request", "body": bytes(event.data), "more_body": True}
        if isinstance(event, h11.EndOfMessage):
            self._body_read = True
            return {"type": "http.request", "body": b"", "more_body": False}
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI's send. The head waits for the first piece of the body, as ASGI wants it."""
        if message["type"] == "http.response.start":
            self._head = message
            return
        if self._head is None or self.complete:
            raise RuntimeError(f"the application sent {message['type']} out of turn")
        status = self._head["status"]
        if not self._head_sent:
            self._head_sent = True
            headers = [*self._head.get("headers", ()), (b"date", formatdate(usegmt=True).encode())]
            if self._expects_body and not self._body_read:  # the rest of it is not worth reading
                headers.append((b"connection", b"close"))
            reason = HTTPStatus(status).phrase
            await self._wire.send(h11.Response(status_code=status, headers=headers, reason=reason))
        body = message.get("body", b"")
        if body and not self._bodiless and status not in _NO_BODY:
            await self._wire.send(h11.Data(data=body))
        if not message.get("more_body", False):
            await self._wire.send(h11.EndOfMessage())
            self.complete = True
