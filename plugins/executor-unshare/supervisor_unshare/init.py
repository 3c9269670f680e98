"""pid 1 of a sandbox: start the content's process, reap orphans, pass TERM on, report the end.

When it ends, the kernel ends everything else in the pid namespace and waits for it. It has the
content's uid, no capability, and memory that the content cannot read.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from typing import NoReturn

_WAITED_FOR = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def report(fd: int, **facts: object) -> None:
    """Write one line of facts to the launcher."""
    os.write(fd, json.dumps(facts).encode() + b"\n")


def run_init(main: Callable[[int], None], fd: int) -> NoReturn:
    """Fork `main` (it execs, or writes its failure to the descriptor it is given) and wait for it.

    Reports {"running": true} once the exec has succeeded and {"status": raw wait status} at the
    end. A launcher that is gone raises BrokenPipeError at the first report: no orphan starts.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    failure_read, failure_write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        main(failure_write)
        os._exit(127)
    os.close(failure_write)
    failure = os.read(failure_read, 4096)
    os.close(failure_read)
    if failure:
        os.write(fd, failure)
        os._exit(127)
    _leave_streams()
    report(fd, running=True)
    status = _wait(pid)
    report(fd, status=status)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _leave_streams() -> None:
    """Hold no end of the content's pipes and none of the service's log."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream, inheritable=False)
    os.close(null)


def _wait(main: int) -> int:
    while True:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == main:
                return status
            if pid == 0:
                break
        if signal.sigwait(_WAITED_FOR) != signal.SIGCHLD:
            os.killpg(main, signal.SIGTERM)
