"""Lines out of a stream of chunks, within bounds."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator


class LineTooLong(Exception):
    """A line is longer than its bound."""


async def split_lines(
    chunks: AsyncIterator[bytes], most: int, *, pieces: bool = False
) -> AsyncGenerator[bytes, None]:
    """Give each line with its newline; what follows the last newline comes at the end.

    Only b"\\n" ends a line. A line over `most` bytes is given in pieces of `most`, or raises
    LineTooLong. Holds at most `most` bytes and one chunk.
    """
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            for piece in _pieces(line + b"\n", most, pieces):
                yield piece
        if len(rest) > most:
            *full, rest = _pieces(rest, most, pieces)
            for piece in full:
                yield piece
    if rest:
        yield rest


def _pieces(line: bytes, most: int, allowed: bool) -> list[bytes]:
    if len(line) <= most:
        return [line]
    if not allowed:
        raise LineTooLong(f"a line of over {most} bytes")
    return [line[start : start + most] for start in range(0, len(line), most)]
