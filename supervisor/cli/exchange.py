"""HTTP over the server's Unix socket, one connection for each request. Nothing but h11."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import h11

CONNECT_TIMEOUT = 5.0
_CHUNK = 64 * 1024


class Broken(Exception):
    """The connection broke off, or was not HTTP."""


class Answer:
    """The answer to one request: its status at once, its body as it comes."""

    def __init__(self, sock: socket.socket, http: h11.Connection) -> None:
        self._sock = sock
        self._http = http
        head = self._next()
        while isinstance(head, h11.InformationalResponse):
            head = self._next()
        if not isinstance(head, h11.Response):
            raise Broken("it closed the connection")
        self.status = head.status_code

    @property
    def is_error(self) -> bool:
        """Whether the server refused."""
        return self.status >= 400

    def pieces(self) -> Iterator[bytes]:
        """Yield the body. Raises TimeoutError, Broken."""
        while isinstance(event := self._next(), h11.Data):
            yield bytes(event.data)

    def lines(self) -> Iterator[str]:
        """Yield the body line by line."""
        rest = b""
        for piece in self.pieces():
            *whole, rest = (rest + piece).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
        if rest:
            yield rest.decode("utf-8", "replace")

    def json(self) -> Any:
        """Read all and decode it; None where there is nothing. Raises ValueError."""
        body = b"".join(self.pieces())
        return json.loads(body) if body else None

    def _next(self) -> object:
        try:
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(self._sock.recv(_CHUNK))
        except TimeoutError:
            raise
        except (OSError, h11.RemoteProtocolError) as error:
            raise Broken(str(error)) from None
        return event


@contextmanager
def exchange(
    path: Path,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str],
    body: Iterable[bytes] = (),
    patience: float | None,
) -> Iterator[Answer]:
    """Send a request and give the answer. Raises TimeoutError, Broken.

    patience: seconds that the server may be silent; None: for as long as it takes. A body needs
    its length among the headers.
    """
    http = h11.Connection(h11.CLIENT)
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.settimeout(CONNECT_TIMEOUT)
            sock.connect(str(path))
            sock.settimeout(patience)
            with suppress(BrokenPipeError, ConnectionResetError):  # it may have refused already
                for event in _events(method, target, headers, body):
                    sock.sendall(http.send(event) or b"")
        except TimeoutError:
            raise
        except OSError as error:
            raise Broken(str(error)) from None
        yield Answer(sock, http)


def _events(
    method: str, target: str, headers: Mapping[str, str], body: Iterable[bytes]
) -> Iterator[h11.Event]:
    sent = {"host": "supervisor", "accept": "*/*", "connection": "close", **headers}
    yield h11.Request(method=method, target=target, headers=list(sent.items()))
    for piece in body:
        yield h11.Data(data=piece)
    yield h11.EndOfMessage()
