"""A process whose memory is high is told and replaced; one that does not end is told as well."""

from __future__ import annotations

from collections.abc import Collection

import attrs
import pytest
import trio

from supervisor.core.figures import Figures
from supervisor.core.runs.calls import CALL_LIMIT
from supervisor.core.runs.limiting import Given
from supervisor.core.runs.tracked import UNKILLABLE
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.registry import Registry
from supervisor.core.scheduling.strain import LOOK_EACH, SETTLED, Strain
from supervisor.core.scheduling.verdict import Failure
from supervisor.lifecycle import State
from supervisor.model import Limits, Overrides, Receipt, RunId, Usage
from supervisor.policy import FOREVER
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, a_job, a_run, keeping

MIB = 1 << 20
LIMITED = a_content(
    scaling=Overrides(least=1), limits=Limits(memory_max=100 * MIB, memory_high=90 * MIB)
)


@attrs.define(eq=False)
class Used:
    """What each run uses, as an executor would say it."""

    memory: dict[RunId, int] = attrs.field(factory=dict)
    kills: dict[RunId, int] = attrs.field(factory=dict)

    async def __call__(self, runs: Collection[RunId]) -> dict[RunId, Usage]:
        return {
            run: Usage(
                cpu=1.0,
                memory=self.memory.get(run, MIB),
                processes=1,
                kills=self.kills.get(run, 0),
            )
            for run in runs
        }


def strained(house: House, keeper: Keeper, used: Used) -> Strain:
    registry = Registry()
    registry.by_guid[keeper.content.guid] = keeper
    for worker in keeper.workers:
        registry.workers[worker.id] = worker
    return Strain(used, registry, Figures(), house.log)


def state_of(worker: Worker) -> State:
    return worker.state


async def until_ready(house: House, count: int) -> None:
    # The clock jumps.
    while len(house.made) < count or not house.made[count - 1].ready.is_set():  # noqa: ASYNC110
        await trio.sleep(0.1)


async def test_a_settled_process_with_high_memory_gets_a_successor_and_no_new_visitors(
    house: House,
) -> None:
    used = Used()
    async with keeping(house.keeper(LIMITED)) as keeper:
        await until_ready(house, 1)
        (old,) = keeper.workers
        old.active(sockets=1, requests=0)  # somebody is there
        await trio.sleep(SETTLED)
        strain = strained(house, keeper, used)
        await strain.look()
        assert State.READY is state_of(old)
        used.memory[old.id] = 95 * MIB
        await strain.look()
        assert State.DRAINING is state_of(old)
        assert "its memory is high: 100 MB of 94 MB" == old.tracked.run.reason
        assert "[supervisor] its memory is high: 100 MB of 94 MB" in old.output.last_lines()
        await until_ready(house, 2)
        answer = await keeper.admission.request(None)
        assert house.made[1] is answer.worker
        assert State.DRAINING is state_of(old)  # whoever was there stays
        old.active(sockets=0, requests=0)
        await old.gone.wait()


async def test_a_process_that_is_high_when_young_is_only_warned_of(house: House) -> None:
    used = Used()
    async with keeping(house.keeper(LIMITED)) as keeper:
        await until_ready(house, 1)
        (young,) = keeper.workers
        strain = strained(house, keeper, used)
        used.memory[young.id] = 95 * MIB
        async with trio.open_nursery() as nursery:
            nursery.start_soon(strain.run)
            await trio.sleep(SETTLED + 2 * LOOK_EACH)
            nursery.cancel_scope.cancel()
        assert State.READY is state_of(young)  # else each of its successors would go the same way
        assert young.tracked.run.reason.startswith("its memory is high")
        used.memory[young.id] = 5 * MIB
        await strain.look()
        assert "" == young.tracked.run.reason
        used.memory[young.id] = 95 * MIB
        await strain.look()
        assert State.READY is not state_of(young)


async def test_a_process_that_an_earlier_core_has_started_is_replaced_too(house: House) -> None:
    used = Used()
    run = a_run(state=State.READY, ready=house.clock() - 2 * SETTLED)
    receipt = await house.executor.start(a_job(run))
    adopted = house.worker(attrs.evolve(run, receipt=receipt))
    adopted.given = Given(limits=LIMITED.limits)
    async with keeping(house.keeper(LIMITED, workers=[adopted], known={})) as keeper:
        await adopted.ready.wait()
        used.memory[adopted.id] = 95 * MIB
        await strained(house, keeper, used).look()
        assert State.READY is not state_of(adopted)


@pytest.mark.parametrize("why", ["starts have failed", "it is being replaced"])
async def test_a_process_without_a_successor_goes_on_serving(house: House, why: str) -> None:
    used = Used()
    async with keeping(house.keeper(LIMITED)) as keeper:
        await until_ready(house, 1)
        (only,) = keeper.workers
        await trio.sleep(SETTLED)
        if why == "starts have failed":
            while keeper.failures.retry_at < FOREVER:
                keeper.failures.note(Failure(code="start-failed", reason="it did not listen"))
        else:
            rolled = keeper.after_all_runs(0.0)
            keeper.content = attrs.evolve(keeper.content, rolled=rolled)
        used.memory[only.id] = 95 * MIB
        await strained(house, keeper, used).look()
        assert State.READY is state_of(only)


async def test_one_process_of_a_content_is_replaced_at_a_time(house: House) -> None:
    used = Used()
    two = attrs.evolve(LIMITED, scaling=Overrides(least=2))
    async with keeping(house.keeper(two)) as keeper:
        await until_ready(house, 2)
        for worker in keeper.workers:
            worker.active(sockets=1, requests=0)
            used.memory[worker.id] = 95 * MIB
        await trio.sleep(SETTLED)
        strain = strained(house, keeper, used)
        await strain.look()
        await strain.look()
        states = sorted(worker.state.value for worker in house.made[:2])
        assert ["draining", "ready"] == states


async def test_killed_children_are_counted_and_stand_in_the_log(house: House) -> None:
    used = Used()
    async with keeping(house.keeper(LIMITED)) as keeper:
        await until_ready(house, 1)
        (worker,) = keeper.workers
        strain = strained(house, keeper, used)
        used.kills[worker.id] = 2
        await strain.look()
        used.kills[worker.id] = 3
        await strain.look()
        await strain.look()
        assert 3.0 == strain.figures.memory_kills.values[()]
        said = [line for line in worker.output.last_lines() if "want of memory" in line]
        assert 2 == len(said)


async def test_children_killed_under_an_earlier_core_are_not_counted_again(house: House) -> None:
    used = Used()
    run = a_run(state=State.READY)
    receipt = await house.executor.start(a_job(run))
    adopted = house.worker(attrs.evolve(run, receipt=receipt))
    adopted.given = Given(limits=LIMITED.limits)
    async with keeping(house.keeper(LIMITED, workers=[adopted], known={})) as keeper:
        await adopted.ready.wait()
        strain = strained(house, keeper, used)
        used.kills[adopted.id] = 3
        await strain.look()
        assert 0.0 == strain.figures.memory_kills.values[()]
        used.kills[adopted.id] = 4
        await strain.look()
        assert 1.0 == strain.figures.memory_kills.values[()]


async def test_what_cannot_be_killed_is_told_and_holds_nobody_up(house: House) -> None:
    house.executor.behaves = Behaviour(obeys=None)
    stopping = house.executor.stop

    async def hang(receipt: Receipt, grace: float) -> None:
        await trio.sleep_forever()

    house.executor.stop = hang  # type: ignore[method-assign]
    async with keeping(house.keeper(LIMITED)) as keeper:
        await until_ready(house, 1)
        (stuck,) = keeper.workers
        begun = trio.current_time()
        await keeper.close("removed", 5.0)
        assert 5.0 + CALL_LIMIT <= trio.current_time() - begun < 2 * CALL_LIMIT
        assert (State.STOPPING, UNKILLABLE) == (stuck.state, stuck.tracked.run.reason)
        house.executor.stop = stopping  # type: ignore[method-assign]
        await stuck.gone.wait()
