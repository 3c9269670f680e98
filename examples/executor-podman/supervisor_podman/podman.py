"""The command line of podman: call it, and follow its events."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from supervisor import SupervisorError, spawn


@attrs.frozen
class Podman:
    """command: `podman` and what of its options concerns every call, such as --root."""

    command: Sequence[str]

    async def call(self, *arguments: str, stdin: str = "") -> str:
        """Run one command and give what it printed.

        Raises SupervisorError("start-failed") with podman's own words, "executor-away" where there
        is no podman. Cancelled: podman is ended, which may leave what it was about to do half done.
        """
        try:
            done = await trio.run_process(
                [*self.command, *arguments],
                stdin=stdin.encode(),
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                start_new_session=True,  # a Ctrl-C of the terminal is not for it
            )
        except OSError as error:
            text = f"{self.command[0]} cannot be executed: {error.strerror}"
            hint = "Install podman, or name it: [Podman] Command."
            raise SupervisorError("executor-away", text, hint=hint) from None
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().splitlines()
            text = said[-1] if said else f"status {done.returncode}"
            raise SupervisorError("start-failed", f"podman {arguments[0]}: {text}")
        return done.stdout.decode(errors="replace")

    @asynccontextmanager
    async def events(self, *filters: str) -> AsyncIterator[trio.abc.ReceiveStream]:
        """Give the events of containers as a stream of lines, from a moment ago on.

        The process that tells them cannot outlive the core.
        """
        read, write = os.pipe()
        given = [f"--filter={each}" for each in ("type=container", *filters)]
        command = [*self.command, "events", "--since=3s", "--format={{.Status}}", *given]
        try:
            child = spawn(command, env=os.environ, stdout=write)
        finally:
            os.close(write)
        async with trio.lowlevel.FdStream(read) as stream:
            try:
                yield stream
            finally:
                child.kill()
