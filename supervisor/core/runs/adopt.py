"""Take over what an earlier core, or another node, has left running; end what nobody knows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import trio

from supervisor.core.runs.makers import Makers
from supervisor.core.runs.worker import Worker
from supervisor.core.storage.journal import Journal
from supervisor.core.storage.lease import SHORT
from supervisor.errors import StoreUnavailable
from supervisor.interfaces import Executor, Lifetime
from supervisor.lifecycle import ENDS, Event, State
from supervisor.log import Log
from supervisor.model import (
    Content,
    ContentId,
    Deployment,
    DeploymentId,
    Purpose,
    Receipt,
    Run,
    RunId,
)

LIST_LIMIT = 10.0  # seconds to list, and to stop what is left over: visitors wait meanwhile
SWEEP_AGAIN = 5.0  # seconds until strays are sought again when the database was away


async def open_runs(
    journal: Journal, contents: Collection[ContentId] | None = None
) -> Sequence[Run]:
    """Give the runs that have not ended: of these contents, or all."""
    where: dict[str, Any] = {"state": tuple(s.value for s in State if s not in ENDS)}
    if contents is not None:
        where["content"] = tuple(contents)
    return await journal.find("run", where)


async def adopt(
    journal: Journal,
    makers: Makers,
    contents: Mapping[ContentId, Content],
    runs: Sequence[Run],
    deployments: Mapping[DeploymentId, Deployment],
    log: Log,
    *,
    strays: bool = True,
) -> dict[ContentId, list[Worker]]:
    """Give the workers to go on with, by content; all other runs are ended.

    runs: the open ones of contents that this node has claimed. One that its executor lists is
    adopted, started by whichever core, also of another node where its executor outlives nodes; one
    that it does not list is LOST. An executor that is away may hold all that was recorded: it is
    asked about each run once it is back. strays: what is listed and nobody has a use for is
    stopped.
    """
    known = {run.id: run for run in runs}
    held: dict[RunId, Receipt] = {}

    async def ask(executor: Executor) -> None:
        listed = await _list(executor, makers, log)
        if listed is None:
            mine = (run for run in runs if run.executor == executor.name)
            held.update({run.id: run.receipt for run in mine if run.receipt})
            return
        held.update({receipt.run: receipt for receipt in listed if receipt.run in known})
        if strays:
            unknown = [receipt for receipt in listed if receipt.run not in known]
            await _stop_strays(executor, unknown, journal, log, of=makers.node)

    async with trio.open_nursery() as nursery:
        for executor in makers.executors.by_name.values():
            nursery.start_soon(ask, executor)
    workers: dict[ContentId, list[Worker]] = {}
    for run in runs:
        content, deployment = contents.get(run.content), None
        if run.deployment is not None and run.purpose is Purpose.SERVE:
            deployment = deployments.get(run.deployment)
        worker = await _take(run, held.get(run.id), makers, content, deployment, log)
        if worker is not None:
            workers.setdefault(run.content, []).append(worker)
    return workers


async def sweep(executor: Executor, journal: Journal, makers: Makers, log: Log) -> None:
    """Stop the strays of an executor that is back: starts that failed with it may have left some.

    Its recorded runs have workers, which ask it about them by themselves. While the database is
    away nobody knows what is a stray: it is tried again until that is back.
    """
    while True:
        try:
            listed = await _list(executor, makers, log)
            await _stop_strays(executor, listed or (), journal, log)
        except StoreUnavailable as error:
            log.warning("strays-not-sought", executor=executor.name, reason=error.message)
            await trio.sleep(SWEEP_AGAIN)
        else:
            return


async def stop_all_of(
    contents: Collection[ContentId],
    but: Collection[RunId],
    journal: Journal,
    makers: Makers,
    log: Log,
) -> None:
    """Stop what this node still runs of contents that another has: what has no worker."""

    async def look(executor: Executor) -> None:
        for receipt in await _list(executor, makers, log) or ():
            run = await journal.get("run", receipt.run) if receipt.run not in but else None
            if run is not None and run.content in contents and run.node == makers.node:
                await _stop(executor, receipt, log, "left-over-stopped")

    async with trio.open_nursery() as nursery:
        for executor in makers.executors.by_name.values():
            if executor.capabilities.lifetime is not Lifetime.REMOTE:
                nursery.start_soon(look, executor)


async def _stop_strays(
    executor: Executor,
    listed: Sequence[Receipt],
    journal: Journal,
    log: Log,
    *,
    of: str | None = None,
) -> None:
    """Stop what nobody recorded, or recorded as ended; of a node: also what another has taken."""
    local = executor.capabilities.lifetime is not Lifetime.REMOTE
    strays = []
    for receipt in listed:
        run = await journal.get("run", receipt.run)
        if run is None or run.state in ENDS or (local and run.node == of):
            strays.append(receipt)
    async with trio.open_nursery() as nursery:
        for receipt in strays:
            nursery.start_soon(_stop, executor, receipt, log, "stray-stopped")


async def _take(
    run: Run,
    receipt: Receipt | None,
    makers: Makers,
    content: Content | None,
    deployment: Deployment | None,
    log: Log,
) -> Worker | None:
    tracked = makers.tracked(run)
    if run.state is State.QUEUED:
        tracked.move(Event.STOP, "the server ended before it was started")
        return None
    elsewhere = run.node != makers.node
    if elsewhere and not _outlives_nodes(run, makers):
        if receipt is not None:  # its executor sees what another node has started
            await _stop(makers.executor_named(receipt.executor), receipt, log, "left-over-stopped")
        tracked.move(Event.VANISHED, f"its node {run.node[:SHORT]} is gone")
        return None
    if receipt is None:
        away = makers.executors.away(run.executor)
        back = "another node took it over" if elsewhere else "the server came back"
        tracked.move(Event.VANISHED, away or f"it was gone when {back}")
        return None
    run = attrs.evolve(run, receipt=receipt, node=makers.node)
    if content is None or deployment is None:
        # a one-shot whose task begins anew, or a process of something removed
        executor = makers.executor_named(receipt.executor)
        if run.state is not State.STOPPING:
            tracked.move(Event.STOP, "its task begins anew")
        await _stop(executor, receipt, log, "left-over-stopped")
        tracked.move(Event.ENDED_WELL, "its task begins anew")
        return None
    log.info("run-adopted", run=run.id, content=run.content, state=run.state.value)
    worker = await makers.adopted(run, content, deployment)
    if elsewhere:
        worker.tracked.note(node=makers.node)
    return worker


def _outlives_nodes(run: Run, makers: Makers) -> bool:
    executor = makers.executors.by_name.get(run.executor)
    return executor is not None and executor.capabilities.lifetime is Lifetime.REMOTE


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
