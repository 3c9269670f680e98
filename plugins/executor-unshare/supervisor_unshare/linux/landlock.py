"""Landlock: which files a process and its children may write, run and connect to, for good.

The root shows only what is listed and mounts most of it read-only; these rules hold besides, where
a mount cannot: nothing of /proc is writable, and the abstract sockets of the host, which lie in no
directory, are out of reach. https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import stat
import struct

from supervisor_unshare.linux import syscalls
from supervisor_unshare.linux.opened import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_CHAR, _MAKE_SOCKET, _MAKE_BLOCK = 1 << 5, 1 << 6, 1 << 9, 1 << 11
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FIRST = (1 << 13) - 1  # all rights of version 1
_ADDED = ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL_DEV))  # since which version
SCOPED_SINCE = 6
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2
_NET_SINCE = 4  # from here on the rules have a second field

RUN = _EXECUTE | _READ_FILE | _READ_DIR
LOOK = _READ_FILE | _READ_DIR
_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV  # what a file can have
CHANGE = ~(_MAKE_CHAR | _MAKE_BLOCK)
KEEP = CHANGE & ~_EXECUTE
USE = LOOK | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV
LISTEN = LOOK | _MAKE_SOCKET | _REMOVE_FILE


def version() -> int:
    """Give the version of Landlock that the kernel has, 0 for none or where it is filtered."""
    return syscalls.landlock_version()


def restrict(known: int, writable: Iterable[str], listening: Iterable[str] = ()) -> None:
    """Let this process and its children change only what lies at `writable`, for good.

    At `listening` they may only make sockets and remove them. Everything may be read and run, as
    far as mounts and owners let it; devices may be used.
    """
    allowed = [("/", RUN), ("/dev", USE), *((path, CHANGE) for path in writable)]
    confine(known, (*allowed, *((path, LISTEN) for path in listening)))


def confine(known: int, allowed: Iterable[tuple[str, int]]) -> None:
    """Let this process and its children reach only these paths, with these rights, for good.

    known: what version() gave, at least 1. allowed: RUN, LOOK, USE, KEEP, CHANGE or LISTEN beneath
    a path; what is not there is left out. Needs no privilege, but no_new_privs.
    """
    handled = _handled(known)
    rules = syscalls.landlock_rules(ruleset(known))
    try:
        for path, rights in allowed:
            _allow(rules, path, rights & handled)
        syscalls.landlock_restrict(rules)
    finally:
        os.close(rules)


def ruleset(known: int) -> bytes:
    """Give what is to be refused but for the rules, as the kernel of this version reads it."""
    scoped = _ABSTRACT_SOCKETS | _SIGNALS if known >= SCOPED_SINCE else 0
    words = 3 if known >= SCOPED_SINCE else 2 if known >= _NET_SINCE else 1
    return struct.pack("QQQ", _handled(known), 0, scoped)[: 8 * words]


def _handled(known: int) -> int:
    handled = _FIRST
    for since, right in _ADDED:
        handled |= right if known >= since else 0
    return handled


def _allow(rules: int, path: str, rights: int) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:  # an optional mount that is not there
        return
    with opened(place):
        is_directory = stat.S_ISDIR(os.fstat(place).st_mode)
        syscalls.landlock_allow(rules, place, rights if is_directory else rights & _FILE)
