"""`supervisor reload`, the parent's own part: ask the new code first, then execute it in place."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.parent.child import Child, spawn
from supervisor.parent.handover import State
from supervisor.parent.watch import describe

_MOST_OUTPUT = 64 * 1024  # bytes of what a check says


@dataclass(frozen=True, kw_only=True, slots=True)
class Reload:
    """How the parent comes to new code: what starts it, and what it leaves for it.

    state: gives the whole state for what Watch.saved gave of the children.
    """

    command: Sequence[str]
    environ: Mapping[str, str]
    state: Callable[[Sequence[Mapping[str, Any]]], State]

    def check(self, living: Sequence[Mapping[str, Any]], *, asker: Child | None) -> Check:
        """Start to ask the new code whether it can go on from here; raises OSError."""
        output = os.memfd_create("output", os.MFD_CLOEXEC)
        fd = self.state(living).seal()
        try:
            argv = [*self.command, f"--check={fd}"]
            pid = spawn(argv, fds=[fd], environ=self.environ, output=output)
        except OSError:
            os.close(output)
            raise
        finally:
            os.close(fd)
        return Check(pid=pid, output=output, asker=asker, since=time.monotonic())

    def execute(self, living: Sequence[Mapping[str, Any]]) -> None:
        """Become the new code, with the same pid. Raises OSError with nothing changed.

        Signals should be blocked: those that come wait until the new code is there.
        """
        state = self.state(living)
        fd = state.seal()
        kept = [fd, *state.descriptors]
        try:
            for number in kept:
                os.set_inheritable(number, True)
            argv = [*self.command, f"--resume={fd}"]
            os.execve(argv[0], argv, dict(self.environ))
        finally:
            keep_to_ourselves(kept)
            os.close(fd)


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A running `--check`: the new code reads settings and state, and imports what it needs.

    asker: the core that waits for the answer, or None.
    """

    pid: int
    output: int
    asker: Child | None
    since: float

    def result(self, status: int) -> tuple[str, str] | None:
        """Take its end: reason and hint of a refusal, or None where the new code holds."""
        text = os.pread(self.output, _MOST_OUTPUT, 0).decode("utf-8", "replace")
        os.close(self.output)
        return explain(status, text) if status else None

    def abandon(self) -> None:
        """End it unheard; the tree reaps it as it does any orphan."""
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.output)


def explain(status: int, text: str) -> tuple[str, str]:
    """Make reason and hint of a wait status and of what a failed check has said."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return f"the check of the new code ended with {describe(status)} and said nothing", ""
    if any(line.startswith("Traceback") for line in lines) or _is_syntax_error(lines):
        return f"the new code does not start: {lines[-1].strip()}", "\n".join(lines[-9:-1])
    return lines[0].strip(), "\n".join(line.strip() for line in lines[1:])


def _is_syntax_error(lines: Sequence[str]) -> bool:  # which Python may show without a traceback
    return lines[0].lstrip().startswith('File "')


def keep_to_ourselves(descriptors: Sequence[int]) -> None:
    """Let no child inherit what came through an exec, or was meant to."""
    for fd in descriptors:
        os.set_inheritable(fd, False)
