"""Init of a run where there is no pid namespace: it ends with every process that ever came of it.

It adopts whatever loses its parent, so a process can leave its group, its session and its parent,
and is found all the same. The launcher asks by END for the end, and so does the kernel when the
launcher has died. Content cannot signal it: it lies outside the content's Landlock domain.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Collection
from typing import NoReturn

from supervisor_unshare.sandbox import init

END = signal.SIGUSR2
_WAITED_FOR = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, END})
_LOOK_AGAIN = 0.005  # seconds
_MOST_LOOKS = 100  # for what multiplies while it is stopped


def queue_signals() -> None:
    """Let signals wait until watch() takes them. Call it before the content's process exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)


def watch(main: int, fd: int) -> NoReturn:
    """Be init until the process `main` has ended or END comes, end all that is left, then end.

    Reports as init.watch does: {"running": true} at once, {"status": raw wait status} at the end.
    """
    os.chdir("/")
    init.leave_streams()
    with contextlib.suppress(BrokenPipeError):  # the launcher is gone: END comes
        init.report(fd, "running", "true")
    status = _wait(main)
    if status is None:
        status = end_all(main)
    else:
        end_all(main)
    with contextlib.suppress(BrokenPipeError):
        init.report(fd, "status", str(status))
    os._exit(os.waitstatus_to_exitcode(status or 0) & 0xFF)


def _wait(main: int) -> int | None:
    """Give the wait status of `main`; None where END came first."""
    while True:
        status, _ = _reap(main)
        if status is not None:
            return status
        number = signal.sigwait(_WAITED_FOR)
        if number == END:
            return None
        if number != signal.SIGCHLD:
            os.killpg(main, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


def end_all(main: int) -> int | None:
    """Kill and reap every descendant; give the wait status of `main` if it is among them.

    All are stopped first: what multiplies faster than it is killed would never end.
    """
    stopped: set[int] = set()
    for _ in range(_MOST_LOOKS):
        fresh = descendants(os.getpid()) - stopped
        if not fresh:
            break
        _signal(fresh, signal.SIGSTOP)
        stopped |= fresh
    found = None
    while True:
        _signal(descendants(os.getpid()), signal.SIGKILL)
        status, living = _reap(main)
        found = found if status is None else status
        if not living:
            return found
        signal.sigtimedwait({signal.SIGCHLD}, _LOOK_AGAIN)


def descendants(ancestor: int) -> set[int]:
    """Give the pids of all processes that descend from one, zombies included."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (parent := _parent(int(name))):
            children.setdefault(parent, []).append(int(name))
    found: set[int] = set()
    waiting = [ancestor]
    while waiting:
        below = children.get(waiting.pop(), ())
        found.update(below)
        waiting += below
    return found


def end_strays(own: Collection[int], *, seconds: float) -> None:
    """Kill what was adopted from an init that was killed: children in a session of their own.

    own: pids of children that are to live.
    """
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        mine = os.getpid()
        strays = {
            pid
            for pid in descendants(mine)
            if pid not in own and _parent(pid) == mine and _session(pid) != os.getsid(0)
        }
        if not strays:
            return
        for pid in strays:
            _signal(descendants(pid) | {pid}, signal.SIGKILL)
        for pid in strays:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.002)


def _reap(main: int) -> tuple[int | None, bool]:
    """Reap whatever has ended: the status of `main` if it has, and whether a child is left."""
    found = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return found, True
            if pid == main:
                found = status
    return found, False


def _signal(pids: Collection[int], number: int) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _parent(pid: int) -> int:
    return _number(pid, 1)


def _session(pid: int) -> int:
    return _number(pid, 3)


def _number(pid: int, place: int) -> int:
    """Give a number of /proc/PID/stat by its place behind the name; 0 where the process is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[place])
    except (OSError, IndexError):
        return 0
