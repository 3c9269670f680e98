"""Reach a run's socket by descriptor, never by a name that content could have swapped. Stdlib only.

Content owns the directory that its socket lies in, so it can put anything under the socket's name:
a link to the socket of another application, a file, nothing. Hence: open what is there without
following links, look at what was opened, connect to that very thing through /proc/self/fd.
"""

from __future__ import annotations

import os
import socket
import stat

from supervisor.errors import SupervisorError

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_directory(path: str) -> int:
    """Open a run's socket directory as an O_PATH descriptor; the caller closes it."""
    return os.open(path, _DIRECTORY)


def connect(directory: int, name: str, uid: int) -> socket.socket:
    """Connect to the socket `name` beneath the descriptor; gives a non-blocking socket.

    A Unix socket is connected at once or not at all. What was checked cannot be swapped between
    the check and the connect: the descriptor pins it. Raises FileNotFoundError where nothing is
    there yet, ConnectionRefusedError where nobody listens, BlockingIOError where the listener's
    queue is full, PermissionError where the socket's mode does not let us, and
    SupervisorError("socket-swapped") where the name is not a socket of `uid`.
    """
    if not name or "/" in name or name in (".", ".."):
        raise SupervisorError("socket-swapped", f"{name!r} is not the name of a socket")
    fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        found = os.fstat(fd)
        if not stat.S_ISSOCK(found.st_mode) or found.st_uid != uid:
            raise SupervisorError(
                "socket-swapped",
                f"{name} in the run's directory is {_kind(found)}, not a socket of uid {uid}",
                hint="The content replaced the socket that it should listen on; nothing was sent.",
            )
        return connect_path(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def connect_path(path: str) -> socket.socket:
    """Connect to a Unix socket by a path that is ours alone, without waiting. Raises OSError."""
    sock = socket.socket(
        socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    )
    try:
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def _kind(found: os.stat_result) -> str:
    kinds = {stat.S_IFLNK: "a link", stat.S_IFREG: "a file", stat.S_IFDIR: "a directory"}
    if stat.S_ISSOCK(found.st_mode):
        return f"a socket of uid {found.st_uid}"
    return kinds.get(stat.S_IFMT(found.st_mode), "something else")
