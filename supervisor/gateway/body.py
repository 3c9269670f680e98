"""Framing of bodies, sans-IO: a strict decoder of chunks, and the chunks that we write."""

from __future__ import annotations

import re

LAST_CHUNK = b"0\r\n\r\n"

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?")
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*")
_LINE_LIMIT = 1024
_TRAILERS_LIMIT = 8 * 1024

_AT_SIZE, _AT_DATA, _AT_BREAK, _AT_TRAILER = range(4)


class BadChunk(Exception):
    """The chunks are malformed; nothing after this point can be trusted."""


class Chunks:
    """Decode one chunked body. Trailers are checked and dropped."""

    __slots__ = ("_at", "_left", "_line", "_trailers", "done")

    def __init__(self) -> None:
        self.done = False
        self._at = _AT_SIZE
        self._left = 0
        self._line = b""
        self._trailers = 0

    def feed(self, data: memoryview) -> tuple[bytes | memoryview, memoryview]:
        """Give the payload within `data` and what lies beyond the body's end. Raises BadChunk.

        The payload may be a view into `data`: use it before the buffer is read into again.
        """
        pieces: list[memoryview] = []
        while data and not self.done:
            if self._at == _AT_DATA:
                piece = data[: self._left]
                pieces.append(piece)
                data = data[len(piece) :]
                self._left -= len(piece)
                if not self._left:
                    self._at = _AT_BREAK
            else:
                data = self._read_line(data)
        if len(pieces) == 1:
            return pieces[0], data
        return b"".join(pieces), data

    def _read_line(self, data: memoryview) -> memoryview:
        """Take bytes up to the next CRLF; a line may come in pieces."""
        held = len(self._line)
        line = self._line + bytes(data[:_LINE_LIMIT])
        end = line.find(b"\n")
        if end < 0:
            if len(line) >= _LINE_LIMIT:
                raise BadChunk("a line of the chunked framing is too long")
            self._line = line
            return data[len(data) :]
        if end == 0 or line[end - 1] != 13:
            raise BadChunk("a bare line feed in the chunked framing")
        self._line = b""
        self._take(line[: end - 1])
        return data[end + 1 - held :]

    def _take(self, line: bytes) -> None:
        if self._at == _AT_SIZE:
            match = _SIZE.fullmatch(line)
            if match is None:
                raise BadChunk("malformed chunk size")
            self._left = int(match[1], 16)
            self._at = _AT_DATA if self._left else _AT_TRAILER
        elif self._at == _AT_BREAK:
            if line:
                raise BadChunk("a chunk is longer than its size says")
            self._at = _AT_SIZE
        elif not line:
            self.done = True
        else:
            self._trailers += len(line)
            if self._trailers > _TRAILERS_LIMIT or not _TRAILER.fullmatch(line):
                raise BadChunk("malformed trailers")


def chunk(payload: bytes | memoryview) -> tuple[bytes, bytes | memoryview, bytes]:
    """Frame one non-empty payload as one chunk, without copying it."""
    return b"%x\r\n" % len(payload), payload, b"\r\n"
