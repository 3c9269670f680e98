"""Whether anything was mounted or unmounted since the last question, but for what is ours."""

from __future__ import annotations

import os
import select

_AT_ONCE = 65536  # bytes; the kernel gives a page of the list at a time, whatever is asked for
_ESCAPED = {" ": "\\040", "\t": "\\011", "\n": "\\012", "\\": "\\134"}  # in mountinfo


class MountChanges:
    """Watch the mounts of this namespace, all but those below the directory `but`."""

    def __init__(self, *, but: str) -> None:
        self._but = os.fsencode("".join(_ESCAPED.get(letter, letter) for letter in but)) + b"/"
        self._file = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._file, select.POLLPRI)
        self._pending = True
        self._mounts: list[bytes] = []

    def happened(self) -> bool:
        """Tell it once for each change; the first time in any case. Raises OSError: ask again."""
        # The kernel tells of each change once. It is pending until the list has been read.
        if self._poll.poll(0):
            self._pending = True
        if not self._pending:
            return False
        before, self._mounts = self._mounts, self._listed()
        self._pending = False
        return before != self._mounts

    @property
    def mounts(self) -> list[str]:
        """The lines of mountinfo as of the last change."""
        return [os.fsdecode(line) for line in self._mounts]

    def _listed(self) -> list[bytes]:
        os.lseek(self._file, 0, os.SEEK_SET)
        pieces = []
        while piece := os.read(self._file, _AT_ONCE):
            pieces.append(piece)
        lines = b"".join(pieces).splitlines()
        return [line for line in lines if not line.split(b" ", 5)[4].startswith(self._but)]
