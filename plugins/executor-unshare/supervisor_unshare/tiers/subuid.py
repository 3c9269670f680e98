"""A user namespace in which the helper of an ordinary user is root over a range of uids of its own.

The range is the user's of /etc/subuid and /etc/subgid; newuidmap and newgidmap, set-uid programs of
the system, write the maps. Inside, the caller is 0 and the range begins at 1: content N has uid N.
Everything else is as with root.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
from dataclasses import dataclass

from supervisor_unshare.linux import syscalls

_PROGRAMS = ("newuidmap", "newgidmap")
_PATH = "/usr/bin:/bin:/usr/sbin:/sbin"
LEAST = 1000  # contents that a range must have room for


@dataclass(frozen=True, kw_only=True)
class Range:
    """The first of some ids, outside, and how many they are."""

    first: int
    count: int


def hindrance(files: tuple[str, str] = ("/etc/subuid", "/etc/subgid")) -> str:
    """Say why this user has no range of uids, or ""."""
    for program in _PROGRAMS:
        if shutil.which(program, path=_PATH) is None:
            return f"{program} is not installed"
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        return f"uid {os.getuid()} has no account, which newuidmap needs"
    for file in files:
        found = own_range(file)
        if found is None or found.count < LEAST:
            return f"{file} gives this user no range of {LEAST} ids or more"
    return ""


def own_range(file: str) -> Range | None:
    """Give the largest range that a file like /etc/subuid gives the caller."""
    uid = os.getuid()
    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
        with open(file, encoding="utf-8", errors="replace") as lines:
            rows = [line.strip().split(":") for line in lines]
    except (OSError, KeyError):
        return None
    found = [
        Range(first=int(first), count=int(count))
        for name, first, count in (row for row in rows if len(row) == 3)
        if name in names and first.isdigit() and count.isdigit()
    ]
    return max(found, key=lambda one: one.count, default=None)


def enter() -> None:
    """Go on in a new user namespace with the caller's range, as its root, with mounts of our own.

    Raises OSError. Only for a process with one thread.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    outside, pid = os.getpid(), os.fork()
    if pid == 0:
        os.close(write)
        _map_when_told(read, outside)
    os.close(read)
    try:
        syscalls.new_user_namespace()
        syscalls.new_mount_namespace()
        os.write(write, b"x")
    finally:
        os.close(write)
        _, status = os.waitpid(pid, 0)
    if status:
        raise OSError(1, "newuidmap or newgidmap refused the range of /etc/subuid and /etc/subgid")
    syscalls.make_mounts_private()
    os.setgroups([])


def map_ids(pid: int) -> None:
    """Map the caller to 0 and its ranges to 1 and more, in the namespace of another process.

    Raises OSError.
    """
    own = (("newuidmap", os.getuid(), "/etc/subuid"), ("newgidmap", os.getgid(), "/etc/subgid"))
    for program, caller, file in own:
        found = own_range(file)
        path = shutil.which(program, path=_PATH)
        if found is None or path is None:
            raise OSError(2, f"{program} or a range in {file} is missing")
        numbers = (0, caller, 1, 1, found.first, found.count)
        argv = [path, str(pid), *map(str, numbers)]
        _, status = os.waitpid(os.posix_spawn(path, argv, {"PATH": _PATH}), 0)
        if status:
            raise OSError(1, f"{program} refused the map")


def outer(uid: int) -> int:
    """Give the number that others see for a uid of this process's own user namespace."""
    with open("/proc/self/uid_map", encoding="ascii") as rows:
        for first, outside, count in (map(int, row.split()) for row in rows):
            if first <= uid < first + count:
                return outside + uid - first
    return uid


def size() -> int:
    """Give how many uids the range has that the helper's namespace maps, or 0."""
    with open("/proc/self/uid_map", encoding="ascii") as rows:
        return sum(int(row.split()[2]) for row in rows if int(row.split()[0]) > 0)


def _map_when_told(read: int, pid: int) -> None:
    status = 1
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(20)
        if os.read(read, 1):
            map_ids(pid)
            status = 0
    finally:
        os._exit(status)
