"""What podman says of a container, as the supervisor's observations. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import attrs

from supervisor import Cause, Exit, RunId

RUN = "content-supervisor.run"
UID = "content-supervisor.uid"
SIGNAL = "content-supervisor.signal"
SERVER = "content-supervisor.server"
_NOT_YET = ("created", "configured", "initialized")
_ENDED = ("exited", "stopped", "removing", "dead")
_TOO_LONG = -1  # what `podman run --timeout` makes of the exit code
_SIGNALLED = 128


@attrs.frozen(kw_only=True)
class Container:
    """One container of ours, as `podman ps` shows it. uid: who owns the socket in it.

    stop_signal: what asks its process to end, "TERM" or "INT".
    """

    run: RunId
    uid: int
    stop_signal: str
    state: str
    pid: int
    code: int

    @property
    def pending(self) -> bool:
        """Whether its process was not started yet."""
        return self.state in _NOT_YET

    @property
    def ended(self) -> bool:
        """Whether every process of it is gone."""
        return self.state in _ENDED

    def exit(self, *, stopped: bool) -> Exit:
        """Say how it ended. Like a shell, podman tells a signal as 128 and its number."""
        if self.code == _TOO_LONG:
            return Exit(signal=9, cause=Cause.TOO_LONG, detail="podman ended it at its time limit")
        cause = Cause.STOPPED if stopped else Cause.FAILED if self.code else Cause.FINISHED
        if self.code > _SIGNALLED:
            return Exit(signal=self.code - _SIGNALLED, cause=cause)
        return Exit(code=self.code, cause=cause)


def containers(listing: str) -> Iterable[Container]:
    """Read what `podman ps --format=json` prints."""
    for entry in json.loads(listing or "[]"):
        labels: dict[str, Any] = entry.get("Labels") or {}
        if RUN in labels:
            yield Container(
                run=RunId(labels[RUN]),
                uid=int(labels[UID]),
                stop_signal=labels[SIGNAL],
                state=entry["State"],
                pid=entry.get("Pid", 0),
                code=entry.get("ExitCode", 0),
            )
