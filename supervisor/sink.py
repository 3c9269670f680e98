"""Where lines of a log go: a descriptor that may be full, and must never hold its writer up.

What does not fit waits, up to a bound; what comes on top of that is dropped and counted. The
descriptor should be non-blocking (the parent opens it so). Standard library only.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

MOST_WAITING = 256 * 1024  # bytes


class Sink:
    """Write whole lines to a descriptor, in order. May be used by several threads.

    dropped: lines that were lost so far. told: is called once room is there again, with how many
    were lost since, and gives the line that says so, or nothing.
    """

    def __init__(
        self,
        fd: int,
        *,
        most: int = MOST_WAITING,
        told: Callable[[int], bytes] = lambda lost: b"",
    ) -> None:
        self.fd = fd
        self.dropped = 0
        self._most = most
        self._told = told
        self._said = 0  # of `dropped`
        self._waiting = bytearray()
        self._torn = False  # the first line that waits has begun in the file already
        self._lock = threading.Lock()

    @property
    def clear(self) -> bool:
        """Whether nothing waits."""
        return not self._waiting

    def write(self, lines: bytes, count: int = 1) -> None:
        """Write one or `count` lines, each with its end. Never raises, never waits."""
        with self._lock:
            if self._waiting:
                self._flush()
            if len(self._waiting) + len(lines) > self._most:
                self.dropped += count
                return
            if self.dropped > self._said and not self._waiting:
                lines = self._told(self.dropped - self._said) + lines
                self._said = self.dropped
            self._waiting += lines
            self._flush()

    def flush(self) -> bool:
        """Try to write what waits; tell whether nothing is left."""
        with self._lock:
            self._flush()
            return not self._waiting

    def replace(self, fd: int) -> None:
        """Go on with another file under the same number, and close what was given.

        A line whose beginning lies in the old file is finished there, or lost.
        """
        with self._lock:
            self._flush()
            if self._torn:
                del self._waiting[: self._waiting.find(b"\n") + 1]
                self._torn = False
                self.dropped += 1
            os.dup2(fd, self.fd, inheritable=os.get_inheritable(self.fd))
            os.close(fd)
            self._flush()

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting:
            try:
                written = os.write(self.fd, waiting)
            except OSError:  # full, or its reader is gone: nothing is worth dying for here
                return
            self._torn = written < len(waiting) and waiting[written - 1] != 10
            del waiting[:written]


def redirect(fd: int) -> None:
    """Let standard output and standard error, of the whole process, go to `fd`; closes it."""
    for standard in (1, 2):
        os.dup2(fd, standard)
    os.close(fd)
