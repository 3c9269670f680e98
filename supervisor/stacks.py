"""Read the stacks that faulthandler writes, and tell whose code they were in."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence

_HEADING = re.compile(r"(Current thread|Thread) 0x[0-9a-f]+")
_FRAME = re.compile(r'  File "(?P<path>.*)", line \S+ in (?P<function>.*)$')


def main_thread(text: str) -> list[str]:
    """Give the file names of the main thread's frames, the innermost first; [] if there is none.

    The dump does not name the main thread: it is the one that was not begun by `threading`, or
    else the last, since faulthandler goes from the newest thread to the oldest.
    """
    stacks: list[list[tuple[str, str]]] = []
    for line in text.splitlines():
        if _HEADING.match(line):
            stacks.append([])
        elif stacks and (frame := _FRAME.match(line)):
            stacks[-1].append((frame["path"], frame["function"]))
    for stack in reversed(stacks):
        if stack and not stack[-1][1].startswith("_bootstrap"):
            return [path for path, _ in stack]
    return [path for path, _ in stacks[-1]] if stacks else []


def owner(frames: Sequence[str], homes: Mapping[str, Sequence[str]]) -> str | None:
    """Give the name whose home (a directory or a file) holds the innermost frame that any has."""
    for frame in frames:
        for name, places in homes.items():
            if any(frame == place or frame.startswith(place + os.sep) for place in places):
                return name
    return None


def homes(module: object) -> list[str]:
    """Give where a module's top-level package lies: its directories, or its one file.

    Written as faulthandler writes paths, without what is not ASCII. A namespace package is shared
    with others, so there the part below it counts.
    """
    name = getattr(module, "__name__", "") or type(module).__module__
    if name not in sys.modules:
        name = type(module).__module__
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        package = sys.modules.get(".".join(parts[:depth]))
        file = getattr(package, "__file__", None)
        if file is None:
            continue
        return [_as_dumped(path) for path in getattr(package, "__path__", [file])]
    return []


def _as_dumped(path: str) -> str:
    return os.path.abspath(path).encode("ascii", "backslashreplace").decode("ascii")
