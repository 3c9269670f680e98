"""After a start: find every run that an earlier core has left, and end what nobody knows."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from supervisor.core.journal import Journal
from supervisor.core.makers import Makers
from supervisor.core.worker import Worker
from supervisor.interfaces import Executor, Lifetime
from supervisor.lifecycle import ENDS, Event, State
from supervisor.log import Log
from supervisor.model import Content, ContentId, Deployment, Purpose, Receipt, Run, RunId

LIST_LIMIT = 10.0  # seconds to list, and to stop what is left over: visitors wait meanwhile


async def adopt(
    journal: Journal, makers: Makers, contents: dict[ContentId, Content], log: Log
) -> dict[ContentId, list[Worker]]:
    """Give the workers to go on with, by content; all other runs of the past are ended.

    A recorded run that its executor lists is adopted, started by whichever core; one that it does
    not list is LOST; what it lists and nobody has a use for is a stray and stopped. An executor
    that is away may hold all that was recorded: it is asked about each run once it is back.
    """
    runs = await _open_runs(journal, makers)
    known = {run.id: run for run in runs}
    held: dict[RunId, Receipt] = {}

    async def ask(executor: Executor) -> None:
        listed = await _list(executor, makers, log)
        if listed is None:
            mine = (run for run in runs if run.executor == executor.name)
            held.update({run.id: run.receipt for run in mine if run.receipt})
            return
        held.update({receipt.run: receipt for receipt in listed if receipt.run in known})
        unknown = [receipt for receipt in listed if receipt.run not in known]
        await _stop_strays(executor, unknown, journal, log)

    async with trio.open_nursery() as nursery:
        for executor in makers.executors.by_name.values():
            nursery.start_soon(ask, executor)
    workers: dict[ContentId, list[Worker]] = {}
    for run in runs:
        worker = await _take(run, held.get(run.id), journal, makers, contents, log)
        if worker is not None:
            workers.setdefault(run.content, []).append(worker)
    return workers


async def sweep(executor: Executor, journal: Journal, makers: Makers, log: Log) -> None:
    """Stop the strays of an executor that is back: starts that failed with it may have left some.

    Its recorded runs have workers, which ask it about them by themselves.
    """
    listed = await _list(executor, makers, log)
    await _stop_strays(executor, listed or (), journal, log)


async def _open_runs(journal: Journal, makers: Makers) -> Sequence[Run]:
    """Give the runs that have not ended, of this node and of executors that no node belongs to.

    While this core holds the lease of the store no other lives: what another node, or this one
    before its RunDir was lost, has started elsewhere is ours now.
    """
    states = tuple(state.value for state in State if state not in ENDS)
    executors = makers.executors.by_name.values()
    remote = {e.name for e in executors if e.capabilities.lifetime is Lifetime.REMOTE}
    runs = await journal.find("run", {"state": states})
    return [run for run in runs if run.node == makers.node or run.executor in remote]


async def _stop_strays(
    executor: Executor, listed: Sequence[Receipt], journal: Journal, log: Log
) -> None:
    """Stop what nobody recorded, or recorded as ended."""
    async with trio.open_nursery() as nursery:
        for receipt in listed:
            run = await journal.get("run", receipt.run)
            if run is None or run.state in ENDS:
                nursery.start_soon(_stop, executor, receipt, log, "stray-stopped")


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
        away = makers.executors.away(run.executor)
        tracked.move(Event.VANISHED, away or "it was gone when the server came back")
        return None
    run = attrs.evolve(run, receipt=receipt, node=makers.node)
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


async def _list(executor: Executor, makers: Makers, log: Log) -> Sequence[Receipt] | None:
    """Ask what an executor holds; None where it does not say."""
    if makers.executors.away(executor.name):
        return None
    try:
        with trio.fail_after(LIST_LIMIT):
            return await executor.list()
    except Exception as error:  # a plugin's fault must not keep all others from starting
        log.error("list-failed", executor=executor.name, exc=error)
        return None


async def _stop(executor: Executor, receipt: Receipt, log: Log, event: str) -> None:
    log.warning(event, run=receipt.run, executor=executor.name)
    try:
        with trio.fail_after(LIST_LIMIT):
            await executor.stop(receipt, 0.5)
    except Exception as error:
        log.error("stop-failed", run=receipt.run, exc=error)
