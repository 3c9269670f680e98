"""Notice what code does to the world: files that it writes, programs that it starts, networks."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FILES = frozenset(
    "os.chmod os.chown os.link os.mkdir os.remove os.rename os.rmdir os.symlink os.truncate "
    "os.utime os.setxattr shutil.rmtree shutil.move shutil.copyfile tempfile.mkstemp "
    "tempfile.mkdtemp".split()
)
_PROGRAMS = frozenset("subprocess.Popen os.system os.exec os.posix_spawn os.fork".split())
_NETWORK = frozenset("socket.connect socket.bind socket.getaddrinfo socket.sendto".split())

_watching: dict[int, list[str]] = {}
_hooked = False


@contextmanager
def noticed() -> Iterator[list[str]]:
    """Give a list that grows by one line for each effect of this thread while the block runs.

    Reading is no effect. Python tells of what it does itself; a program that it starts is one line.
    """
    global _hooked
    if not _hooked:  # a hook stays for the life of the process
        sys.addaudithook(_audit)
        _hooked = True
    seen: list[str] = []
    thread = threading.get_ident()
    _watching[thread] = seen
    try:
        yield seen
    finally:
        del _watching[thread]


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    seen = _watching.get(threading.get_ident())
    if seen is None:
        return
    if event == "open":
        path, mode, flags = arguments
        writes = bool(set(mode or "") & set("wax+")) or bool((flags or 0) & _WRITES)
        if (
            writes
            and not str(path).endswith((".pyc", os.devnull))
            and "__pycache__" not in str(path)
        ):
            seen.append(f"it opened {path!r} to write")
    elif event in _FILES and "__pycache__" not in str(arguments):
        seen.append(f"{event} {arguments[0]!r}")
    elif event in _PROGRAMS:
        seen.append(f"it started a program: {event} {arguments[:2]!r}")
    elif event in _NETWORK:
        seen.append(f"it used a network: {event} {arguments[-1]!r}")
