"""Whose a directory is: a file held by flock, with the pid of a holder in it."""

from __future__ import annotations

import fcntl
import os

from supervisor.errors import SupervisorError


def hold(
    path: str, *, code: str, what: str, unusable: str, shared: bool = False, hint: str = ""
) -> int:
    """Hold the lock file and give its descriptor; the lock ends with the process, however it dies.

    Raises SupervisorError: `code` naming the holder, `unusable` where the file cannot be written.
    `what` says what is held, for the message. shared: others may hold it too that say so. hint:
    what else can be done where it is held. The file is never removed: that would let two processes
    hold two files of one name.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(unusable, what, path, error) from None
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 64, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        raise SupervisorError(
            code,
            f"{what} is held by another living server (pid {holder})",
            hint=f"Stop it first: kill {holder}. Or give this one another directory.{hint}",
        ) from None
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(fd)
        raise _cannot_write(unusable, what, path, error) from None
    return fd


def _cannot_write(code: str, what: str, path: str, error: OSError) -> SupervisorError:
    return SupervisorError(
        code,
        f"{what} cannot be used: {error.strerror} ({path})",
        hint="Make it writable and give it space, or name another directory.",
    )
