"""What a keeper answers to: may this visitor go, and where?"""

from __future__ import annotations

from enum import StrEnum

import attrs

from supervisor.core.runs.worker import Worker


class Verdict(StrEnum):
    """The answer to: may this visitor go, and where?"""

    WORKER = "worker"
    STARTING = "starting"
    QUEUED = "queued"
    FULL = "full"
    FAILED = "failed"
    STOPPED = "stopped"
    EMPTY = "empty"


@attrs.frozen(kw_only=True)
class Failure:
    """Why a content does not run.

    retry_at: trio's time from which a visit starts it again; None: not before a restart. passing:
    it will mend by itself.
    """

    code: str
    reason: str
    lines: tuple[str, ...] = ()
    retry_at: float | None = None
    passing: bool = False


@attrs.frozen(kw_only=True)
class Answer:
    """A verdict with what belongs to it. position: in line, 1 is next."""

    verdict: Verdict
    worker: Worker | None = None
    failure: Failure | None = None
    position: int | None = None
