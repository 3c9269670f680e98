"""After a start: find every run that an earlier core has left, and end what nobody knows."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from supervisor.core.journal import Journal
from supervisor.core.makers import Makers
from supervisor.core.worker import Worker
from supervisor.interfaces import Executor
from supervisor.lifecycle import ENDS, Event, State
from supervisor.log import Log
from supervisor.model import Content, ContentId, Deployment, Purpose, Receipt, Run, RunId

LIST_LIMIT = 30.0


async def adopt(
    journal: Journal, makers: Makers, contents: dict[ContentId, Content], log: Log
) -> dict[ContentId, list[Worker]]:
    """Give the workers to go on with, by content; all other runs of the past are ended.

    A recorded run that its executor lists is adopted, started by whichever core; one that it does
    not list is LOST; what it lists and nobody recorded is a stray and stopped.
    """
    open_states = tuple(state.value for state in State if state not in ENDS)
    runs = await journal.find("run", {"state": open_states, "node": makers.node})
    known = {run.id: run for run in runs}
    held: dict[RunId, Receipt] = {}
    for executor in makers.plugins.executors.values():
        recorded = [run.receipt for run in runs if run.executor == executor.name and run.receipt]
        for receipt in await _list(executor, recorded, log):
            if receipt.run in known:
                held[receipt.run] = receipt
            else:
                await _stop(executor, receipt, log, "stray-stopped")
    workers: dict[ContentId, list[Worker]] = {}
    for run in runs:
        worker = await _take(run, held.get(run.id), journal, makers, contents, log)
        if worker is not None:
            workers.setdefault(run.content, []).append(worker)
    return workers


async def _take(
    run: Run,
    receipt: Receipt | None,
    journal: Journal,
    makers: Makers,
    contents: dict[ContentId, Content],
    log: Log,
) -> Worker | None:
    tracked = makers.tracked(run)
    if run.state is State.QUEUED:
        tracked.move(Event.STOP, "the server ended before it was started")
        return None
    if receipt is None:
        tracked.move(Event.VANISHED, "it was gone when the server came back")
        return None
    run = attrs.evolve(run, receipt=receipt)
    content = contents.get(run.content)
    deployment: Deployment | None = None
    if run.deployment is not None and run.purpose is Purpose.SERVE:
        deployment = await journal.get("deployment", run.deployment)
    if content is None or deployment is None:
        # a one-shot whose task begins anew, or a process of something removed
        executor = makers.executor_named(receipt.executor)
        if run.state is not State.STOPPING:
            tracked.move(Event.STOP, "its task begins anew")
        await _stop(executor, receipt, log, "left-over-stopped")
        tracked.move(Event.ENDED_WELL, "its task begins anew")
        return None
    log.info("run-adopted", run=run.id, content=run.content, state=run.state.value)
    return await makers.adopted(run, content, deployment)


async def _list(executor: Executor, recorded: Sequence[Receipt], log: Log) -> Sequence[Receipt]:
    """Ask what an executor holds; of one that does not say, believe what was recorded."""
    try:
        with trio.fail_after(LIST_LIMIT):
            return await executor.list()
    except Exception as error:  # a plugin's fault must not keep all others from starting
        log.error("list-failed", executor=executor.name, exc=error)
        return recorded


async def _stop(executor: Executor, receipt: Receipt, log: Log, event: str) -> None:
    log.warning(event, run=receipt.run, executor=executor.name)
    try:
        with trio.fail_after(LIST_LIMIT):
            await executor.stop(receipt, 0.5)
    except Exception as error:
        log.error("stop-failed", run=receipt.run, exc=error)
