"""Start processes that cannot outlive this one: for executors whose processes end with the core."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

import trio

from supervisor.model import Cause, Exit

_PROGRAM = os.path.join(os.path.dirname(__file__), "programs", "spawn.py")


class Child:
    """A process of `spawn` with everything that it starts.

    pid is that of the process which stands before it: it passes TERM, INT, HUP, USR1 and USR2 on to
    the child's group and ends, as the child ended, when nothing of the child is left.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._stopped = False
        self.pid = process.pid

    @property
    def exit(self) -> Exit | None:
        """How it ended: FINISHED, FAILED or, by stop() or kill(), STOPPED. None while it lives."""
        code = self._process.poll()
        if code is None:
            return None
        cause = Cause.STOPPED if self._stopped else Cause.FAILED if code else Cause.FINISHED
        return Exit(cause=cause, code=code) if code >= 0 else Exit(cause=cause, signal=-code)

    async def wait(self) -> Exit:
        """Return how it ended, once nothing of it is left. Any number of tasks may wait."""
        while (ended := self.exit) is None:
            pidfd = os.pidfd_open(self.pid)
            try:
                await trio.lowlevel.wait_readable(pidfd)
            finally:
                os.close(pidfd)
        return ended

    def send_signal(self, number: int) -> None:
        """Send one of the five signals to the child's group. Of a child that is gone: nothing."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End the child and everything that it started, at once. Idempotent; does not wait."""
        self._stopped |= self.exit is None
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def stop(self, grace: float, number: int = signal.SIGTERM) -> Exit:
        """Ask the child's group to end, kill what is left after `grace` seconds; give its exit.

        Cancelled: what is left is killed at once.
        """
        self._stopped |= self.exit is None
        self.send_signal(number)
        try:
            with trio.move_on_after(grace):
                await self.wait()
        finally:
            self.kill()
        return await self.wait()


def spawn(
    command: Sequence[str],
    *,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    stdout: int | None = None,
    stderr: int | None = None,
) -> Child:
    """Start a command and return at once. It has no standard input; env: all of its environment.

    Nothing of it outlives this process: when the child ends, or this process does (killed, too),
    everything is killed that the child started, whatever session or group it is in.
    stdout and stderr are descriptors, or those of this process. A command that cannot be executed
    ends with 127 and a line on its standard error. Raises OSError where `cwd` cannot be entered.

    It takes about a millisecond of this thread, and 15 ms until the command runs.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", _PROGRAM, *command],
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=env,
        bufsize=0,
        start_new_session=True,
    )
    return Child(process)
