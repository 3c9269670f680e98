"""One visit over HTTP/1.1, strict and small: what a test sees of the gateway."""

from __future__ import annotations

import attrs
import trio


@attrs.frozen(kw_only=True)
class Answer:
    """What came back. fields: header names in lower case with their values, in order."""

    status: int
    fields: tuple[tuple[str, str], ...] = ()
    body: bytes = attrs.field(default=b"", repr=lambda body: repr(body[:200]))

    @property
    def text(self) -> str:
        """The body."""
        return self.body.decode("utf-8", "replace")

    @property
    def cookie(self) -> str:
        """What a browser would send next time, "" where none was set."""
        set_ = [value.partition(";")[0] for name, value in self.fields if name == "set-cookie"]
        return "; ".join(set_)


async def get(port: int, path: str, *, cookie: str = "") -> Answer:
    """Ask 127.0.0.1 for a path. OSError and EOFError where there is no answer."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"Cookie: {cookie}"] if cookie else []
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    async with stream:
        await stream.send_all(("\r\n".join(lines) + "\r\n\r\n").encode())
        data = bytearray()
        async for piece in stream:
            data += piece
    head, mark, rest = bytes(data).partition(b"\r\n\r\n")
    if not mark:
        raise EOFError(f"the connection ended before an answer: {head[:200]!r}")
    first, *others = head.decode("latin-1").split("\r\n")
    pairs = (line.partition(":") for line in others)
    fields = tuple((name.lower(), value.strip()) for name, _, value in pairs)
    body = _chunks(rest) if ("transfer-encoding", "chunked") in fields else rest
    return Answer(status=int(first.split()[1]), fields=fields, body=body)


def _chunks(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            return body
        body, data = body + data[:count], data[count + 2 :]
