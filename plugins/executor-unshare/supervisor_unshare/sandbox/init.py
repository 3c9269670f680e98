"""pid 1 of a sandbox: reap orphans, pass TERM and INT on, report the end of the content's process.

When it ends, the kernel ends everything else in the pid namespace and waits for it. It has the
content's uid, no capability, and memory that the content cannot read.
"""

from __future__ import annotations

import os

from supervisor_unshare.linux import bare_signal as signal
from supervisor_unshare.sandbox.refusals import Refusals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, Protocol

    class Uplink(Protocol):
        """The process that joins this sandbox to the host's network."""

        @property
        def pid(self) -> int: ...

        def last_words(self) -> str:
            """Say why it ended."""


_WAITED_FOR = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


def report(fd: int, name: str, value: str) -> None:
    """Write a line to the helper: a JSON object with one fact, its value written as JSON."""
    os.write(fd, f'{{"{name}": {value}}}\n'.encode())


def report_failure(fd: int, step: str, number: int | None, message: str) -> None:
    """Write the line of a start that has failed."""
    shown = "null" if number is None else str(number)
    rest = f'"errno": {shown}, "message": {_quoted(message)}'
    os.write(fd, f'{{"step": {_quoted(step)}, {rest}}}\n'.encode())


def _quoted(text: str) -> str:
    """Write a string as JSON. The module for that is too large for what every clone holds."""
    escaped = (
        one if " " <= one <= "~" and one not in '"\\' else f"\\u{min(ord(one), 0xFFFD):04x}"
        for one in text
    )
    return f'"{"".join(escaped)}"'


def queue_signals() -> None:
    """Let signals wait until watch() takes them. Call it before the content's process exists."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)


def watch(
    main: int, fd: int, uplink: Uplink | None, *, listener: int | None, tmp: int | None
) -> NoReturn:
    """Be init until the process `main` has ended, then end with it.

    Reports {"running": true} at once and {"status": raw wait status} at the end; before it
    {"unlinked": why} where the uplink has ended, {"blocked": numbers of system calls} and
    {"tmp_full": bytes}. A launcher that is gone raises BrokenPipeError at the first report.
    listener: of the filter of calls; tmp: the limit of temporary files.
    """
    os.chdir("/")
    leave_streams()
    next_signal = _waiting(fd, listener)
    report(fd, "running", "true")
    status = _wait(main, fd, uplink, next_signal)
    if tmp is not None and os.statvfs("/tmp").f_bavail == 0:
        report(fd, "tmp_full", str(tmp))
    report(fd, "status", str(status))
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)


def leave_streams() -> None:
    """Hold none of the service's log."""
    null = os.open("/dev/null", os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream, inheritable=False)
    os.close(null)


def _waiting(fd: int, listener: int | None) -> Callable[[], int]:
    if listener is None:
        return lambda: signal.sigwait(_WAITED_FOR)
    return Refusals(listener, _WAITED_FOR, lambda calls: report(fd, "blocked", str(calls))).wait


def _wait(main: int, fd: int, uplink: Uplink | None, next_signal: Callable[[], int]) -> int:
    while True:
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == main:
                return status
            if uplink is not None and pid == uplink.pid:
                report(fd, "unlinked", _quoted(uplink.last_words()))
            if pid == 0:
                break
        number = next_signal()
        if number != signal.SIGCHLD:
            os.killpg(main, signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)
