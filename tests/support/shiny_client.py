"""A Shiny session without a browser, under trio: get the page, open the socket, see values.

Speaks what R Shiny and Shiny for Python both understand, over TCP or a Unix socket, directly or
through the gateway (cookies are kept as a browser keeps them).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import attrs
import h11
import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidState
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

CLOSE_SECONDS = 1.0  # uvicorn answers a close late
LOST = 1006  # the close code of a connection that ended without a close frame
PLOT = {"width": 600, "height": 400}


class SessionEnded(Exception):
    """The session ended while a value was awaited; the text says how."""


class OutputFailed(Exception):
    """The app answered with an error instead of a value."""


class Refused(Exception):
    """The server did not open the socket. `status` is that of its answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status}: {body[:500]!r}")
        self.status = status


@attrs.frozen(kw_only=True)
class Answer:
    """An HTTP answer; names of headers are lower case, several of one name are all there."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """Give the first header of that name (lower case)."""
        return next((value for key, value in self.headers if key == name), None)


class Visitor:
    """One browser: where the content lies, its cookies, and what it sends with every request.

    url: the content's address, ending in `/`. socket: a Unix socket to reach it by, instead of TCP.
    """

    def __init__(
        self, url: str, *, socket: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        self.url = url if url.endswith("/") else f"{url}/"
        self.socket = socket
        self.headers = dict(headers or {})
        self.cookies: SimpleCookie = SimpleCookie()

    async def get(
        self, path: str = "", *, accept: str = "text/html", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Get a page on a connection of its own; a path with a `/` before it is the server's.

        Raises OSError or trio.BrokenResourceError where the connection fails, h11's
        RemoteProtocolError where it ends before the answer does.
        """
        parts = urlsplit(self.url)
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
        fields = {
            "Host": parts.netloc,
            "Accept": accept,
            "Connection": "close",
            **(headers or {}),
            **self._own_headers(),
        }
        target = path if path.startswith("/") else parts.path + path
        request = h11.Request(method="GET", target=target, headers=list(fields.items()))
        async with await self.connect() as stream:
            await stream.send_all(
                (connection.send(request) or b"") + (connection.send(h11.EndOfMessage()) or b"")
            )
            answer, body = None, bytearray()
            while True:
                event = connection.next_event()
                if event is h11.NEED_DATA:
                    connection.receive_data(bytes(await stream.receive_some(65536)))
                elif isinstance(event, h11.Response):
                    answer = event
                elif isinstance(event, h11.Data):
                    body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    break
        assert answer is not None
        found = tuple((key.decode().lower(), value.decode()) for key, value in answer.headers)
        self._keep_cookies(found)
        return Answer(status=answer.status_code, headers=found, body=bytes(body))

    @asynccontextmanager
    async def session(
        self,
        outputs: Iterable[str],
        inputs: Mapping[str, Any] | None = None,
        *,
        path: str = "websocket/",
    ) -> AsyncIterator[Session]:
        """Open a Shiny session that shows `outputs` and starts with `inputs`; close it at the end.

        Raises Refused where the socket is not opened.
        """
        parts = urlsplit(self.url)
        protocol = ClientProtocol(
            parse_uri(self.url.replace("http", "ws", 1) + path),
            origin=f"{parts.scheme}://{parts.netloc}",  # type: ignore[arg-type]
            extensions=[ClientPerMessageDeflateFactory(client_max_window_bits=True)],
            max_size=None,
        )
        request = protocol.connect()
        for key, value in self._own_headers().items():
            request.headers[key] = value
        protocol.send_request(request)
        outputs = tuple(outputs)
        try:
            async with await self.connect() as stream, trio.open_nursery() as nursery:
                session = Session(protocol, stream)
                await session._open()
                self._keep_cookies(tuple((key.lower(), one) for key, one in session.headers))
                nursery.start_soon(session._receive)
                data = first_inputs(self.url, outputs, inputs)
                await session.send({"method": "init", "data": data})
                yield session
                await session.close()
                nursery.cancel_scope.cancel()
        except BaseExceptionGroup as group:
            if len(group.exceptions) > 1:
                raise
            raise group.exceptions[0] from None  # tests await the error, not its wrapping

    async def connect(self) -> trio.abc.HalfCloseableStream:
        """Open one connection to the server."""
        if self.socket is not None:
            return await trio.open_unix_socket(self.socket)
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        return await trio.open_tcp_stream(parts.hostname, parts.port or 80)

    def _own_headers(self) -> dict[str, str]:
        cookies = "; ".join(f"{key}={one.value}" for key, one in self.cookies.items())
        return {**self.headers, **({"Cookie": cookies} if cookies else {})}

    def _keep_cookies(self, headers: Iterable[tuple[str, str]]) -> None:
        for key, value in headers:
            if key == "set-cookie":
                self.cookies.load(value)


class Session:
    """One open Shiny session. Made by Visitor.session."""

    def __init__(self, protocol: ClientProtocol, stream: trio.abc.HalfCloseableStream) -> None:
        self.id: str | None = None
        self.headers: list[tuple[str, str]] = []
        self.messages = 0
        self.busy = False  # its process computes for it, and has not said that it has finished
        self.close_code: int | None = None
        self.close_reason = ""
        self._protocol = protocol
        self._stream = stream
        self._sending = trio.Lock()
        self._unseen: dict[str, Any] = {}
        self._errors: dict[str, str] = {}
        self._news = trio.Event()
        self._closed = trio.Event()
        self._message = bytearray()

    async def value(self, output: str) -> Any:
        """Wait for a value of an output that was not given before, and give it.

        Raises OutputFailed where the app says error instead, SessionEnded where the session ends.
        """
        while output not in self._unseen:
            if output in self._errors:
                raise OutputFailed(f"{output}: {self._errors.pop(output)}")
            if self._closed.is_set():
                raise SessionEnded(f"closed with {self.close_code} {self.close_reason}".rstrip())
            await self._news.wait()
        return self._unseen.pop(output)

    async def computing(self) -> None:
        """Wait until its process says that it computes."""
        while not self.busy:
            if self._closed.is_set():
                raise SessionEnded("it has not computed")
            await self._news.wait()

    async def update(self, **inputs: Any) -> None:
        """Set inputs, as a visitor who moves a slider does."""
        await self.send({"method": "update", "data": inputs})

    async def send(self, message: Mapping[str, Any]) -> None:
        """Send one message as it is. Raises SessionEnded where it is known to have ended."""
        try:
            self._protocol.send_text(json.dumps(message).encode())
        except InvalidState:
            raise SessionEnded("the connection has ended") from None
        await self._flush()

    async def close(self) -> None:
        """End the session in order; return when the other side has answered, or soon."""
        with trio.move_on_after(CLOSE_SECONDS):
            if self._protocol.state is State.OPEN:
                self._protocol.send_close(1000)
                await self._flush()
            await self._closed.wait()

    async def closed(self) -> int:
        """Wait until the session has ended, and give the close code (1006: connection lost)."""
        await self._closed.wait()
        assert self.close_code is not None
        return self.close_code

    @property
    def is_open(self) -> bool:
        """Whether neither side has ended the session."""
        return not self._closed.is_set()

    async def _open(self) -> None:
        await self._flush()
        while self._protocol.state is State.CONNECTING:
            data = await self._stream.receive_some(65536)
            self._protocol.receive_data(data) if data else self._protocol.receive_eof()
            if self._protocol.handshake_exc is not None:
                response = getattr(self._protocol.handshake_exc, "response", None)
                if isinstance(response, Response):
                    raise Refused(response.status_code, bytes(response.body or b""))
                raise SessionEnded(str(self._protocol.handshake_exc))
        self._take_events()

    async def _receive(self) -> None:
        while not self._closed.is_set():
            try:
                data = await self._stream.receive_some(65536)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self._protocol.receive_data(data) if data else self._protocol.receive_eof()
            self._take_events()
            await self._flush()
            if not data or self._protocol.state is State.CLOSED:
                self._end()

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Response):
                self.headers = list(event.headers.raw_items())
            elif isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.CONT):
                self._message += event.data
                if event.fin:
                    message, self._message = self._message, bytearray()
                    self._take(json.loads(message))
        if self._protocol.close_rcvd is not None:
            self._end()

    def _take(self, message: Mapping[str, Any]) -> None:
        self.messages += 1
        if "config" in message:
            self.id = message["config"].get("sessionId")
        if "busy" in message:
            self.busy = message["busy"] == "busy"
        self._unseen.update(message.get("values") or {})
        for output, error in (message.get("errors") or {}).items():
            self._errors[output] = error["message"] if isinstance(error, dict) else str(error)
        self._news.set()
        self._news = trio.Event()

    def _end(self) -> None:
        if not self._closed.is_set():
            received = self._protocol.close_rcvd
            self.close_code = LOST if received is None else int(received.code)
            self.close_reason = "" if received is None else received.reason
            self._closed.set()
            self._news.set()

    async def _flush(self) -> None:
        async with self._sending:
            for data in self._protocol.data_to_send():
                try:
                    await (self._stream.send_all(data) if data else self._stream.send_eof())
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return  # the reader finds the end and says it


def first_inputs(
    url: str, outputs: Iterable[str], inputs: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Give what a browser sends first; outputs are computed only where said to be visible."""
    parts = urlsplit(url)
    data: dict[str, Any] = {
        ".clientdata_pixelratio": 1,
        ".clientdata_url_protocol": f"{parts.scheme}:",
        ".clientdata_url_hostname": parts.hostname,
        ".clientdata_url_port": str(parts.port or ""),
        ".clientdata_url_pathname": parts.path,
        ".clientdata_url_search": "",
        ".clientdata_url_hash": "",
        ".clientdata_url_hash_initial": "",
        ".clientdata_singletons": "",
        **(inputs or {}),
    }
    for output in outputs:
        data[f".clientdata_output_{output}_hidden"] = False
        for side, pixels in PLOT.items():
            data[f".clientdata_output_{output}_{side}"] = pixels
    return data
