"""Read the log of a container, which conmon writes: `TIME STREAM F|P TEXT` on each line."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from itertools import groupby

import trio

from supervisor import OutputChunk

MOST = "16mb"  # of a log: then conmon begins a new file in its place
_BLOCK = 256 * 1024
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 0.3  # seconds: there is no way to be told of new lines


async def follow(
    path: str, cursor: str, ended: Callable[[], bool]
) -> AsyncGenerator[OutputChunk, None]:
    """Yield what is written from `cursor` on, until it has ended and all was read.

    A cursor is `inode:offset`: in another file than that reading begins at the beginning.
    """
    inode, _, offset = cursor.partition(":")
    while _inode(path):
        log = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            here, pause = os.fstat(log).st_ino, _FIRST_PAUSE
            at = int(offset) if inode == str(here) else 0
            while True:
                last, replaced = ended(), _inode(path) != here
                block = os.pread(log, _BLOCK, at)
                for stream, data, length in pieces(block[: block.rfind(b"\n") + 1]):
                    at, pause = at + length, _FIRST_PAUSE
                    yield OutputChunk(stream=stream, data=data, cursor=f"{here}:{at}")
                if b"\n" in block:
                    await trio.lowlevel.checkpoint()
                elif replaced:
                    break
                elif last:
                    return
                else:
                    await trio.sleep(pause)
                    pause = min(pause * 1.5, _LONGEST_PAUSE)
        finally:
            os.close(log)


def pieces(lines: bytes) -> Iterator[tuple[str, bytes, int]]:
    """Give stream, bytes as the process wrote them, and length in the log, of lines in a row."""
    parted = (line.split(b" ", 3) for line in lines.split(b"\n")[:-1])
    for stream, group in groupby(parted, key=lambda parts: parts[1]):
        data, length = b"", 0
        for time, _, tag, text in group:
            data += text + b"\n" if tag == b"F" else text  # P: a part of a line, which goes on
            length += len(time) + len(stream) + len(tag) + len(text) + 4
        yield stream.decode(), data, length


def _inode(path: str) -> int:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return 0
