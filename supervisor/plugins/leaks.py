"""What plugins hold and should not: threads, system tasks and descriptors, told by whose they are.

A thread or task is a plugin's if its first frame that belongs to any plugin does. A descriptor is
nobody's, so there the growth from before a call to after it counts, if it comes again and again.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from types import CodeType, FrameType

import attrs
import trio

from supervisor import stacks

CALLS = 50  # of one hook that are looked at together
MOST_QUIET = 5  # of those that may leave no descriptor more
MOST_THREADS = 20
MOST_TASKS = 100

Homes = Mapping[str, Sequence[str]]


def descriptors() -> int:
    """Count this process's open descriptors."""
    return len(os.listdir("/proc/self/fd"))


def threads(homes: Homes) -> Counter[str]:
    """Count the living threads of each plugin; those that only call it for us are ours."""
    frames = sys._current_frames()
    found: Counter[str] = Counter()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if frame is None or thread is threading.main_thread() or thread.name.startswith("Trio"):
            continue
        name = stacks.owner([_dumped(code) for code in _outermost_first(frame)], homes)
        if name is not None:
            found[name] += 1
    return found


def system_tasks(homes: Homes) -> Counter[str]:
    """Count the system tasks of each plugin, which no nursery of ours ends; none outside trio."""
    found: Counter[str] = Counter()
    try:
        root = trio.lowlevel.current_root_task()
    except RuntimeError:
        return found
    if root is None:
        return found
    for nursery in root.child_nurseries:
        for task in nursery.child_tasks:
            code = getattr(task.coro, "cr_code", None)
            name = stacks.owner([_dumped(code)], homes) if code is not None else None
            if name is not None:
                found[name] += 1
    return found


@attrs.define(eq=False)
class Growth:
    """How the number of descriptors changed over the last calls of one hook of one plugin."""

    _changes: deque[int] = attrs.field(factory=lambda: deque(maxlen=CALLS))

    def note(self, change: int) -> str:
        """Take the change of one call; say what it looks like once it is clear, else ""."""
        self._changes.append(change)
        quiet = sum(change <= 0 for change in self._changes)
        if len(self._changes) < CALLS or quiet > MOST_QUIET:
            return ""
        more = sum(self._changes)
        self._changes.clear()
        return f"left {more} descriptors open in {CALLS} calls"


def _outermost_first(frame: FrameType | None) -> Iterator[CodeType]:
    codes = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return reversed(codes)


def _dumped(code: CodeType) -> str:
    # as faulthandler writes paths, which is how homes are compared
    return code.co_filename.encode("ascii", "backslashreplace").decode("ascii")
