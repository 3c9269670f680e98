"""Whose a directory is: a file held by flock, with the pid of a holder in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection

from supervisor.errors import SupervisorError

_BOOT = "/proc/sys/kernel/random/boot_id"


def hold_data_dir(
    data_dir: str, *, shared: bool = False, hint: str = "", held: Collection[int] = ()
) -> list[int]:
    """Hold a DataDir against every other server of this kernel; see `hold`.

    Not against those of this host name alone: each container has one of its own. That name is held
    as well, for servers of older code that know no other. held: descriptors of locks that this
    process has already, from an earlier code too; those that it lacks are given.
    """
    node = os.uname().nodename
    try:
        with open(_BOOT, encoding="ascii") as file:
            kernel = file.read().strip()
    except OSError:
        kernel = node
    taken: list[int] = []
    try:
        for name in dict.fromkeys((kernel, node)):
            path = os.path.join(data_dir, f".held-{name}")
            if _is_among(path, held):
                continue
            taken.append(
                hold(
                    path,
                    code="data-dir-held",
                    unusable="data-dir-unusable",
                    what=f"the data directory {data_dir}",
                    shared=shared,
                    hint=hint,
                    node=node,
                )
            )
    except SupervisorError:
        release(taken)
        raise
    return taken


def release(held: Collection[int]) -> None:
    """Give locks back."""
    for fd in held:
        os.close(fd)


def _is_among(path: str, held: Collection[int]) -> bool:
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return any(os.path.samestat(found, os.fstat(fd)) for fd in held)


def hold(
    path: str,
    *,
    code: str,
    what: str,
    unusable: str,
    shared: bool = False,
    hint: str = "",
    node: str = "",
) -> int:
    """Hold the lock file and give its descriptor; the lock ends with the process, however it dies.

    Raises SupervisorError: `code` naming the holder, `unusable` where the file cannot be written.
    `what` says what is held, for the message. shared: others may hold it too that say so. hint:
    what else can be done where it is held. node: where a holder's pid means something, if it may be
    held from elsewhere. The file is never removed: that would let two processes hold two files of
    one name.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _cannot_write(unusable, what, path, error) from None
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        text = os.pread(fd, 512, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(fd)
        holder, _, at = text.partition(" ")
        near = at in ("", node)
        raise SupervisorError(
            code,
            f"{what} is held by another living server (pid {holder}{'' if near else f' on {at}'})",
            hint=f"Stop it first{f': kill {holder}' if near else ''}."
            f" Or give this one another directory.{hint}",
        ) from None
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {node}".strip().encode() + b"\n", 0)
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
