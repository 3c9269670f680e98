"""Stand between the core and a child of `supervisor.spawn`: nothing of it outlives either.

Run as a file by a bare interpreter; standard library only. Standard input is the life line: nobody
writes to it, and the core alone holds its other end, so it ends with the core, however that ends.
What the child leaves behind becomes a child of this process (a subreaper): none is ever nobody's.
Ends as the child did, with its status or by its signal, once everything is gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

LIFE_LINE = 0
NOT_EXECUTED = 127  # as shells say it
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(command: Sequence[str]) -> NoReturn:
    """Run a command until it, or the core, ends; then end all that is left of it."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    bell = hang_bell()
    child = start(command)
    status = watch(child, bell)
    end_all()
    end_as(status)


def hang_bell() -> int:
    """Give a descriptor from which the numbers of arriving signals can be read."""
    bell, rope = os.pipe()
    os.set_blocking(rope, False)
    os.set_blocking(bell, False)
    signal.set_wakeup_fd(rope)
    for number in (signal.SIGCHLD, *PASSED_ON):
        signal.signal(number, lambda number, frame: None)
    return bell


def start(command: Sequence[str]) -> int:
    """Start the command in a process group of its own, without a standard input; give its pid."""
    me = os.getpid()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
    child = os.fork()
    if child == 0:
        _execute(command, me)
    # Here too: whoever is first, the group is there when we go on. Refused where it has executed.
    with contextlib.suppress(PermissionError, ProcessLookupError):
        os.setpgid(child, child)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)
    return child


def _execute(command: Sequence[str], parent: int) -> NoReturn:
    try:
        os.setpgid(0, 0)
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the line above
            os._exit(NOT_EXECUTED)
        for number in (signal.SIGCHLD, *PASSED_ON, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.dup2(os.open(os.devnull, os.O_RDONLY), LIFE_LINE)
        os.execvp(command[0], [*command])
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(NOT_EXECUTED)


def watch(child: int, bell: int) -> int:
    """Pass signals on to the child's group until the child ends; give its exit code or -signal.

    Where the life line ends first: as if the child had been killed, which end_all() then does.
    """
    while True:
        ready, _, _ = select.select([LIFE_LINE, bell], [], [])
        if LIFE_LINE in ready:
            return -signal.SIGKILL
        for number in os.read(bell, 512):
            if number != signal.SIGCHLD:
                os.killpg(child, number)
            elif (status := _reap(child)) is not None:
                return status


def _reap(child: int) -> int | None:
    """Reap whatever has ended; give the child's exit code or -signal if it is among it."""
    while True:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)
        if pid == 0:
            return None


def end_all() -> None:
    """Kill every child, and those who become our children by that, until there is none."""
    with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as children:
        while True:
            children.seek(0)
            for pid in map(int, children.read().split()):
                os.kill(pid, signal.SIGKILL)  # a child that nobody has reaped: its pid is its own
            try:
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.001)
            except ChildProcessError:
                return


def end_as(status: int) -> NoReturn:
    """End with an exit code, or by a signal (-signal), without a core file of ours."""
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status if status >= 0 else 128 - status)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    main(sys.argv[1:])
