"""Keepers and runs as people see them in `list` and `ps`."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import trio

from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.verdict import Verdict
from supervisor.core.service import ContentView, RunView, SessionView
from supervisor.model import Run, Usage

_STATES = {
    Verdict.WORKER: "running",
    Verdict.FAILED: "failed",
    Verdict.STOPPED: "stopped",
    Verdict.EMPTY: "empty",
}
_VISITOR = 6  # characters of a visitor's random name: enough to tell them apart
_UNKNOWN = (None, None, None, None)

SessionUsage = Mapping[str, Sequence[float | None]]
"""Seat → seconds since data of the client and of the worker, bytes in, bytes out."""


async def no_usage() -> SessionUsage:
    """Know nothing: no gateway is there to ask."""
    return {}


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
        sessions=keeper.seats.total(),
        waiting=keeper.line.waiting(),
    )


def session_views(keeper: Keeper, usage: SessionUsage) -> Iterator[SessionView]:
    """Give the seats of a content, then its line, as `supervisor sessions` shows them."""
    now = trio.current_time()
    content = keeper.content
    for seat in sorted(keeper.seats, key=lambda seat: seat.since):
        quiet_client, quiet_worker, received, sent = usage.get(seat.name, _UNKNOWN)
        yield SessionView(
            content_name=content.name,
            content_guid=content.guid,
            state=seat.hold.value,
            visitor=seat.visitor[:_VISITOR],
            run=seat.run,
            age=now - seat.since,
            quiet_client=quiet_client,
            quiet_worker=quiet_worker,
            bytes_in=None if received is None else int(received),
            bytes_out=None if sent is None else int(sent),
        )
    for place in keeper.line:
        yield SessionView(
            content_name=content.name,
            content_guid=content.guid,
            state="waiting",
            visitor=place.visitor[:_VISITOR],
            age=now - place.joined,
            position=keeper.line.position(place),
        )


def run_view(run: Run, keeper: Keeper | None, worker: Worker | None, used: Usage | None) -> RunView:
    """Give a run as `supervisor ps` shows it; keeper is None once its content was removed."""
    content = keeper.content if keeper else None
    return RunView(
        run=run,
        content_name=content.name if content else f"(removed {run.content})",
        content_guid=content.guid if content else "",
        pid=worker.pid if worker else None,
        sessions=keeper.seats.held(run.id) if keeper and worker else 0,
        requests=worker.requests if worker else 0,
        cpu=used.cpu if used else None,
        memory=used.memory if used else None,
        processes=used.processes if used else None,
        tier=worker.executor.capabilities.tier if worker else "",
        lacking=worker.given.lacking if worker else (),
        age=max(0.0, (run.ended or time.time()) - (run.started or run.created)),
    )
