"""What processes use, cheaply: one file of /proc each, kept open and read in place.

Opening is what costs; a kept file also belongs to its very process: once that has ended, nothing
can be read there, whoever gets its number. Standard library only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

MOST_OPEN = 8192  # files; what is beyond that is opened each time
LOOK_EACH = 5.0  # seconds after which the tree below a process is looked at anew

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_RSS = 21  # of the fields of /proc/PID/stat that follow the command's name


class Sample(NamedTuple):
    """CPU seconds since the start, with those of children that were waited for; resident bytes."""

    cpu: float
    memory: int


class Processes:
    """Read processes by their numbers, again and again."""

    def __init__(self, *, most_open: int = MOST_OPEN) -> None:
        self._most = most_open
        self._files: dict[int, int] = {}

    def read(self, pid: int) -> Sample | None:
        """Give what a process uses; None where it has ended. Its number may be used again."""
        fd = self._files.get(pid)
        if fd is not None:
            try:
                return _parse(os.pread(fd, 1024, 0))
            except OSError:
                self.forget(pid)
        try:
            fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            sample = _parse(os.pread(fd, 1024, 0))
        except OSError:
            os.close(fd)
            return None
        if len(self._files) < self._most:
            self._files[pid] = fd
        else:
            os.close(fd)
        return sample

    def forget(self, pid: int) -> None:
        """Close the file of a process; of one that is unknown, nothing."""
        fd = self._files.pop(pid, None)
        if fd is not None:
            os.close(fd)

    def keep_only(self, pids: Collection[int]) -> None:
        """Close the files of all others."""
        for pid in self._files.keys() - set(pids):
            self.forget(pid)

    def close(self) -> None:
        """Close all files."""
        self.keep_only(())


class Trees:
    """Read what all processes below some roots use."""

    def __init__(
        self, processes: Processes | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._processes = processes or Processes()
        self._clock = clock
        self._below: dict[int, tuple[float, list[int]]] = {}  # root → when looked at, its tree

    def read(self, root: int) -> tuple[Sample, int]:
        """Give the sum of all processes below a root, and how many there are.

        One that was started less than LOOK_EACH seconds ago may be missing.
        """
        now = self._clock()
        looked, pids = self._below.get(root, (float("-inf"), []))
        fresh = now - looked < LOOK_EACH
        for _ in range(2):
            if not fresh:
                pids = self._look(root, pids)
                self._below[root] = now, pids
            samples = [self._processes.read(pid) for pid in pids]
            if fresh and None in samples:
                fresh = False  # one has ended, and may have left children to others
                continue
            break
        found = [sample for sample in samples if sample is not None]
        total = Sample(sum(one.cpu for one in found), sum(one.memory for one in found))
        return total, len(found)

    def keep_only(self, roots: Collection[int]) -> None:
        """Forget all other trees."""
        for root in self._below.keys() - set(roots):
            for pid in self._below.pop(root)[1]:
                self._processes.forget(pid)

    def _look(self, root: int, before: list[int]) -> list[int]:
        found: list[int] = []
        waiting = children(root)
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            waiting += children(pid)
        for pid in set(before) - set(found):
            self._processes.forget(pid)
        return found


def children(pid: int) -> list[int]:
    """Give the children of every thread of a process; of one that has ended, none."""
    found: list[int] = []
    try:
        for thread in os.listdir(f"/proc/{pid}/task"):
            fd = os.open(f"/proc/{pid}/task/{thread}/children", os.O_RDONLY | os.O_CLOEXEC)
            try:
                while piece := os.read(fd, 65536):
                    found += map(int, piece.split())
            finally:
                os.close(fd)
    except OSError:
        return found
    return found


def _parse(data: bytes) -> Sample:
    if not data:
        raise ProcessLookupError
    fields = data[data.rindex(b")") + 2 :].split(b" ", _RSS + 1)
    ticks = int(fields[11]) + int(fields[12]) + int(fields[13]) + int(fields[14])
    return Sample(ticks / _TICKS, int(fields[_RSS]) * _PAGE)
