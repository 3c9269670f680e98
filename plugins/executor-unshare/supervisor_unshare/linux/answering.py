"""Whether a file system answers. One whose server is gone holds up whoever asks it, without end.

The helper must not wait so: a forked process asks, and is left to itself where it gets no answer.
Only file systems that have a server are asked at all. So it is with the machine's accounts, which
may lie on a server as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Any, NoReturn

from supervisor_unshare.linux import syscalls

LIMIT = 1.0  # seconds
_HAS_A_SERVER = re.compile(r"nfs|cifs|smb|fuse|ceph|gluster|lustre|afs|9p|gpfs|beegfs|autofs")
_waiting: dict[str, int] = {}  # path → pidfd of a process that still waits for an answer
_unanswered: set[int] = set()  # pid of the one of in_time() that still waits


def answers(path: str) -> bool:
    """Tell whether the file system of a path answers in time; waits LIMIT at most."""
    if not _HAS_A_SERVER.search(kind_of(path)) and not _leads_elsewhere(path):
        return True
    limit = LIMIT
    if path in _waiting:
        asker, limit = _waiting.pop(path), 0.0
    else:
        asker = _ask(path)
    waiting = select.poll()
    waiting.register(asker, select.POLLIN)
    if waiting.poll(limit * 1000):
        os.waitid(os.P_PIDFD, asker, os.WEXITED)
        os.close(asker)
        return True
    _waiting[path] = asker
    return False


def in_time(ask: Callable[[], Any]) -> Any:
    """Give what `ask` gives, as JSON carries it; waits LIMIT at most.

    Raises TimeoutError where it takes longer, and at once while an earlier one has no answer yet.
    """
    for pid in tuple(_unanswered):
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG) is None:
            raise TimeoutError("an earlier question has no answer yet")
        _unanswered.remove(pid)
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        _tell(ask, write)
    os.close(write)
    with open(read, "rb") as answer:
        waiting = select.poll()
        waiting.register(read, select.POLLIN)
        if not waiting.poll(LIMIT * 1000):
            _unanswered.add(pid)
            raise TimeoutError(f"no answer within {LIMIT:g} s")
        said = answer.read()
    os.waitpid(pid, 0)
    return json.loads(said or "null")


def has_server(path: str, mounts: Iterable[str]) -> bool:
    """Tell whether a path lies on a file system that has a server, by lines of mountinfo.

    That of "/" does not count: where it goes silent, nobody is left who could tell.
    """
    at, kind = _mount_by(mounts, path)
    return at != "" and _HAS_A_SERVER.search(kind) is not None


def kind_of(path: str) -> str:
    """Give the kind of file system that a path lies on, by the list of mounts: nobody is asked."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return _mount_by(file, path)[1]


def _mount_by(mounts: Iterable[str], path: str) -> tuple[str, str]:
    found, kind = "", ""
    for line in mounts:
        fields, _, after = line.partition(" - ")
        at = _unescaped(fields.split(" ")[4]).rstrip("/")
        if f"{path}/".startswith(f"{at}/") and len(at) >= len(found):
            found, kind = at, after.split(" ")[0]
    return found, kind


def _leads_elsewhere(path: str) -> bool:
    """Tell whether a link lies on the way, of which nobody knows what it leads to."""
    above = map(str, reversed(PurePosixPath(path).parents))
    return any(os.path.islink(part) for part in (*above, path))


def _unescaped(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def _tell(ask: Callable[[], Any], write: int) -> NoReturn:
    try:
        syscalls.close_all_but({write})
        syscalls.die_with_parent(signal.SIGKILL)
        with open(write, "w", encoding="ascii") as answer:
            json.dump(ask(), answer)
    finally:
        os._exit(0)


def _ask(path: str) -> int:
    pid = os.fork()
    if pid:
        return os.pidfd_open(pid)
    try:
        syscalls.close_all_but(set())  # whoever waits for the helper's end must not wait for ours
        syscalls.die_with_parent(signal.SIGKILL)
        with contextlib.suppress(OSError):
            os.stat(path)
    finally:
        os._exit(0)
