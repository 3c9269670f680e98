"""One living server per directory: a file held by flock, with the holder's pid in it."""

from __future__ import annotations

import fcntl
import os

from supervisor.errors import SupervisorError


def hold(path: str, *, code: str, what: str) -> int:
    """Hold the lock file and give its descriptor; the lock ends with the process, however it dies.

    Raises SupervisorError(code) naming the holder. `what` says what is held, for the message. The
    file is never removed: that would let two processes hold two files of one name.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 64, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise SupervisorError(
            code,
            f"{what} is held by another living server (pid {holder})",
            hint=f"Stop it first: kill {holder}. Or give this one another directory.",
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
