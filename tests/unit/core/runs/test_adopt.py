"""After a start of the core: what runs is adopted, the rest is ended, strays are stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence

import attrs
import pytest
import trio

from supervisor.core.runs.adopt import adopt, open_runs, stop_all_of, sweep
from supervisor.core.runs.executors import Executors
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.worker import Worker
from supervisor.errors import StoreUnavailable
from supervisor.interfaces import Change, Lifetime
from supervisor.lifecycle import State
from supervisor.model import Content, ContentId, Purpose, Run, Scaling, Transition
from supervisor.plugins.loading import Plugins
from supervisor.testing.executors import BrokenListExecutor, ScriptedExecutor
from supervisor.testing.house import House, a_content, a_deployment, a_job, a_run, serving

LIVING = (State.STARTING, State.PROBING, State.READY, State.DRAINING, State.STOPPING)


def makers_of(house: House, *executors: ScriptedExecutor) -> Makers:
    plugins = Plugins(log=house.log)
    plugins.executors.update({executor.name: executor for executor in executors})
    makers = Makers(
        journal=house.journal,
        plugins=plugins,
        log=house.log,
        node="node",
        data_dir=house.paths,
        server="",
        scaling=Scaling(),
    )
    makers.installations.looked.set()
    return makers


async def adopted(
    house: House, *executors: ScriptedExecutor, contents: tuple[Content, ...] = (a_content(),)
) -> list[Worker]:
    makers = makers_of(house, *(executors or (house.executor,)))
    found = await taken_over(house, makers, contents)
    return [worker for workers in found.values() for worker in workers]


async def taken_over(
    house: House, makers: Makers, contents: Sequence[Content]
) -> dict[ContentId, list[Worker]]:
    """Adopt as a node that has claimed content 1 and these."""
    claimed = {content.id for content in contents} | {ContentId(1)}
    stored = await house.journal.find("deployment")
    return await adopt(
        house.journal,
        makers,
        {content.id: content for content in contents},
        await open_runs(house.journal, claimed),
        {deployment.id: deployment for deployment in stored},
        house.log,
    )


async def recorded(house: House, run: Run, *, started: bool = True) -> Run:
    """Record a run as an earlier core has left it."""
    if started:
        receipt = await house.executor.start(a_job(run))
        run = attrs.evolve(run, receipt=receipt)
    house.journal.store.apply([Change(kind="run", record=run)])
    if house.journal.store.get("deployment", 1) is None:
        house.journal.store.apply([Change(kind="deployment", record=a_deployment())])
    return run


def stored(house: House, run: Run) -> Run:
    found = house.journal.store.get("run", run.id)
    assert isinstance(found, Run)
    return found


@pytest.mark.parametrize("state", LIVING)
async def test_what_is_recorded_and_lives_is_adopted_and_not_started_again(
    house: House, state: State
) -> None:
    run = await recorded(house, a_run(state=state))
    (worker,) = await adopted(house)
    assert (run.id, state) == (worker.id, worker.state)
    assert (1, 0) == (house.executor.count("start"), house.executor.count("stop"))


async def test_a_start_whose_receipt_was_not_recorded_is_adopted_by_the_list(house: House) -> None:
    run = a_run(state=State.STARTING)
    await house.executor.start(a_job(run))
    await recorded(house, run, started=False)
    (worker,) = await adopted(house)
    assert house.executor.receipt(run.id) == worker.tracked.run.receipt


@pytest.mark.parametrize("state", LIVING)
async def test_what_is_recorded_and_gone_is_lost(house: House, state: State) -> None:
    run = await recorded(house, a_run(state=state), started=False)
    assert [] == await adopted(house)
    assert State.LOST is stored(house, run).state
    assert "gone when the server came back" in stored(house, run).reason


async def test_what_nobody_recorded_is_a_stray_and_stopped(house: House) -> None:
    await house.executor.start(a_job(a_run()))
    assert [] == await adopted(house)
    assert [] == house.executor.living


async def test_what_waited_in_the_queue_is_ended(house: House) -> None:
    run = await recorded(house, a_run(), started=False)
    assert [] == await adopted(house)
    assert State.EXITED is stored(house, run).state


@pytest.mark.parametrize("state", [State.STARTING, State.WORKING, State.STOPPING])
async def test_a_one_shot_is_stopped_as_its_task_begins_anew(house: House, state: State) -> None:
    run = await recorded(house, a_run(purpose=Purpose.UNPACK, state=state))
    assert [] == await adopted(house)
    assert State.EXITED is stored(house, run).state
    assert [] == house.executor.living


async def test_a_process_of_a_removed_content_is_stopped(house: House) -> None:
    run = await recorded(house, a_run(state=State.READY))
    assert [] == await adopted(house, contents=())
    assert State.EXITED is stored(house, run).state
    assert [] == house.executor.living


async def test_runs_of_contents_that_others_have_and_ended_ones_are_left_alone(
    house: House,
) -> None:
    elsewhere = a_run(state=State.READY, node="other", content=ContentId(2))
    other = await recorded(house, elsewhere, started=False)
    ended = await recorded(house, a_run(state=State.FAILED), started=False)
    assert [] == await adopted(house)
    assert (State.READY, State.FAILED) == (stored(house, other).state, stored(house, ended).state)


@pytest.mark.parametrize("state", LIVING)
async def test_what_another_node_ran_here_of_a_content_that_is_ours_now_is_lost(
    house: House, state: State
) -> None:
    run = await recorded(house, a_run(state=state, node="0123456789abcdef"), started=False)
    assert [] == await adopted(house)
    assert (State.LOST, "its node 01234567 is gone") == (
        stored(house, run).state,
        stored(house, run).reason,
    )
    assert 0 == house.executor.count("remove")  # its node may have lost the database only


async def test_what_this_node_runs_of_a_content_that_another_has_now_is_stopped(
    house: House,
) -> None:
    await recorded(house, a_run(state=State.READY, content=ContentId(2)))
    assert [] == await adopted(house)
    assert [] == house.executor.living


async def test_of_contents_that_were_lost_all_is_stopped_that_has_no_worker(house: House) -> None:
    makers = makers_of(house, house.executor)
    worker = await recorded(house, a_run(state=State.READY))
    unpacking = await recorded(house, a_run(state=State.WORKING, purpose=Purpose.UNPACK))
    kept = await recorded(house, a_run(state=State.READY, content=ContentId(2)))
    await stop_all_of({ContentId(1)}, {worker.id}, house.journal, makers, house.log)
    assert {worker.id, kept.id} == {living.job.run for living in house.executor.living}
    assert unpacking.id not in {living.job.run for living in house.executor.living}


async def test_an_executor_that_cannot_list_stops_nobody_and_its_receipts_are_believed(
    house: House,
) -> None:
    class Other(BrokenListExecutor):
        name = "other"

    async with serving(Other(house.executor.directory)) as other:
        assert isinstance(other, Other)
        run = a_run(state=State.READY, executor="other")
        receipt = await other.start(a_job(run))
        await recorded(house, attrs.evolve(run, receipt=receipt), started=False)
        mine = await recorded(house, a_run(state=State.READY, content=ContentId(2)))
        workers = await adopted(house, house.executor, other, contents=(a_content(1), a_content(2)))
        assert {run.id, mine.id} == {worker.id for worker in workers}
        assert (1, 0) == (len(other.living), other.count("stop"))


async def test_adopted_workers_serve_on(house: House) -> None:
    await recorded(house, a_run(state=State.READY))
    (worker,) = await adopted(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.live, None)
        with trio.fail_after(5):
            await worker.ready.wait()
        assert worker.endpoint is not None
        nursery.cancel_scope.cancel()
    assert 1 == len(house.executor.living)


async def test_an_adopted_worker_knows_for_how_long_it_has_drained(house: House) -> None:
    run = await recorded(house, a_run(state=State.DRAINING))
    moves = [(State.READY, time.time() - 900), (State.DRAINING, time.time() - 600)]
    for state, at in moves:
        record = Transition(
            run=run.id, content=run.content, was="", now=state.value, event="", at=at
        )
        house.journal.store.apply([Change(kind="transition", record=record)])
    (worker,) = await adopted(house)
    assert 600 == pytest.approx(worker.drained, abs=60)


def remote(house: House) -> None:
    """Let the house's executor be one that no node belongs to."""
    claimed = attrs.evolve(house.executor.capabilities, lifetime=Lifetime.REMOTE)
    house.executor.capabilities = claimed


async def test_what_another_node_started_elsewhere_is_adopted_as_ours(house: House) -> None:
    remote(house)
    run = await recorded(house, a_run(state=State.READY, node="before-the-reboot"))
    (worker,) = await adopted(house)
    assert (run.id, "node") == (worker.id, worker.tracked.run.node)
    assert "node" == stored(house, run).node
    assert 0 == house.executor.count("stop")


async def test_what_another_node_started_elsewhere_and_is_gone_is_lost(house: House) -> None:
    remote(house)
    run = await recorded(house, a_run(state=State.READY, node="other"), started=False)
    assert [] == await adopted(house)
    assert State.LOST is stored(house, run).state


async def test_an_open_run_of_another_node_is_no_stray(house: House) -> None:
    await recorded(house, a_run(state=State.READY, node="other", content=ContentId(2)))
    assert [] == await adopted(house)
    assert 1 == len(house.executor.living)


async def test_what_is_recorded_as_ended_and_lives_is_stopped(house: House) -> None:
    await recorded(house, a_run(state=State.FAILED))
    assert [] == await adopted(house)
    assert [] == house.executor.living


async def adopted_while_away(house: House) -> list[Worker]:
    """Adopt while the executor has not been reached."""
    makers = makers_of(house, house.executor)
    makers.executors = Executors(installed={"scripted": house.executor}, log=house.log)
    found = await taken_over(house, makers, (a_content(),))
    return [worker for workers in found.values() for worker in workers]


async def test_an_executor_that_is_away_loses_nothing_and_stops_nothing(house: House) -> None:
    run = await recorded(house, a_run(state=State.READY))
    await house.executor.start(a_job(a_run()))
    (worker,) = await adopted_while_away(house)
    assert (run.id, State.READY) == (worker.id, worker.state)
    assert (2, 0) == (len(house.executor.living), house.executor.count("stop"))


async def test_a_start_of_which_nobody_knows_is_lost_where_its_executor_is_away(
    house: House,
) -> None:
    run = await recorded(house, a_run(state=State.STARTING), started=False)
    assert [] == await adopted_while_away(house)
    assert State.LOST is stored(house, run).state
    assert "the executor 'scripted' is away" in stored(house, run).reason


async def test_an_executor_that_is_back_is_rid_of_strays_alone(house: House) -> None:
    mine = await recorded(house, a_run(state=State.READY))
    await recorded(house, a_run(state=State.FAILED))
    await house.executor.start(a_job(a_run()))
    await sweep(house.executor, house.journal, makers_of(house, house.executor), house.log)
    assert [mine.id] == [living.job.run for living in house.executor.living]


async def test_strays_are_sought_again_where_the_database_was_away(house: House) -> None:
    await house.executor.start(a_job(a_run()))

    def away(method: str) -> None:
        if method == "get":
            raise StoreUnavailable("the database is away")

    async with trio.open_nursery() as nursery:
        there = house.journal.store.enter
        house.journal.store.enter = away  # type: ignore[method-assign]
        makers = makers_of(house, house.executor)
        nursery.start_soon(sweep, house.executor, house.journal, makers, house.log)
        await trio.sleep(60)
        assert 1 == len(house.executor.living)
        house.journal.store.enter = there  # type: ignore[method-assign]
    assert [] == house.executor.living
