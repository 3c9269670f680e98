"""Keepers and runs as people see them in `list` and `ps`."""

from __future__ import annotations

import time

from supervisor.core.keeper import Keeper
from supervisor.core.service import ContentView, RunView
from supervisor.core.verdict import Verdict
from supervisor.core.worker import Worker
from supervisor.model import Content, Run, Usage

_STATES = {
    Verdict.WORKER: "running",
    Verdict.FAILED: "failed",
    Verdict.STOPPED: "stopped",
    Verdict.EMPTY: "empty",
}


def content_view(keeper: Keeper, url: str) -> ContentView:
    """Give a content as `supervisor list` shows it."""
    answer = keeper.now()
    state = _STATES.get(answer.verdict) or ("starting" if keeper.starting else "sleeping")
    return ContentView(
        content=keeper.content,
        scaling=keeper.scaling,
        state=state,
        reason=keeper.failure.reason if keeper.failure else "",
        url=url,
        bundle=keeper.deployment.bundle if keeper.deployment else None,
        processes=len(keeper.workers),
        sessions=sum(worker.sockets for worker in keeper.workers),
    )


def run_view(
    run: Run, content: Content | None, worker: Worker | None, used: Usage | None
) -> RunView:
    """Give a run as `supervisor ps` shows it; content is None once it was removed."""
    return RunView(
        run=run,
        content_name=content.name if content else f"(removed {run.content})",
        content_guid=content.guid if content else "",
        pid=worker.pid if worker else None,
        sessions=worker.sockets if worker else 0,
        requests=worker.requests if worker else 0,
        cpu=used.cpu if used else None,
        memory=used.memory if used else None,
        processes=used.processes if used else None,
        age=max(0.0, (run.ended or time.time()) - (run.started or run.created)),
    )
