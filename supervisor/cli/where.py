"""Where the server's socket lies."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from supervisor.layout import CORE_SOCKET

SYSTEM_RUN_DIR = Path("/run/content-supervisor")


def find_socket(given: str | None) -> Path:
    """Give the socket to talk to: the given one, else the first that exists, else the usual one."""
    if given:
        return Path(given)
    for directory in _run_dirs():
        try:
            (directory / CORE_SOCKET).lstat()
        except PermissionError:  # it is there, and connecting says what is missing
            return directory / CORE_SOCKET
        except OSError:
            continue
        return directory / CORE_SOCKET
    return SYSTEM_RUN_DIR / CORE_SOCKET


def _run_dirs() -> Iterator[Path]:
    # A person's own server comes before the machine's: whoever started one means it.
    uid = os.geteuid() if hasattr(os, "geteuid") else 0
    if uid != 0:
        yield from _own_run_dirs(uid)
    yield SYSTEM_RUN_DIR


def _own_run_dirs(uid: int) -> Iterator[Path]:
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        yield Path(base, "content-supervisor")
        return
    shared = Path(f"/tmp/content-supervisor-{uid}")
    try:
        facts = shared.lstat()
    except OSError:
        return
    if facts.st_uid == uid and stat.S_ISDIR(facts.st_mode):  # /tmp: anybody could have made it
        yield shared
