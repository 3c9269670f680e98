"""pid 1 of a sandbox: reap orphans, pass TERM and INT on, report the end of the content's process.

When it ends, the kernel ends everything else in the pid namespace and waits for it. It has the
content's uid, no capability, and memory that the content cannot read.
"""

from __future__ import annotations

import json
import os
import signal
from typing import NoReturn, Protocol

_WAITED_FOR = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


class Uplink(Protocol):
    """The process that joins this sandbox to the host's network."""

    @property
    def pid(self) -> int: ...

    def last_words(self) -> str:
        """Say why it ended."""


def report(fd: int, **facts: object) -> None:
    """Write one line of facts to the launcher."""
    os.write(fd, json.dumps(facts).encode() + b"\n")


def queue_signals() -> None:
    """Let signals wait until watch() takes them. Call it before the content's process exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)


def watch(main: int, fd: int, uplink: Uplink | None) -> NoReturn:
    """Be init until the process `main` has ended, then end with it.

    Reports {"running": true} at once and {"status": raw wait status} at the end, and
    {"unlinked": why} where the uplink ends before. A launcher that is gone raises BrokenPipeError
    at the first report.
    """
    os.chdir("/")
    leave_streams()
    report(fd, running=True)
    status = _wait(main, fd, uplink)
    report(fd, status=status)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def leave_streams() -> None:
    """Hold none of the service's log."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream, inheritable=False)
    os.close(null)


def _wait(main: int, fd: int, uplink: Uplink | None) -> int:
    while True:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == main:
                return status
            if uplink is not None and pid == uplink.pid:
                report(fd, unlinked=uplink.last_words())
            if pid == 0:
                break
        number = signal.sigwait(_WAITED_FOR)
        if number != signal.SIGCHLD:
            os.killpg(main, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
