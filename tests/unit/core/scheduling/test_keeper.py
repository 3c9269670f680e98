"""One app: wanted, kept, admitted, given up, drained and closed, on a clock that jumps."""

from __future__ import annotations

import math

import attrs
import pytest
import trio

from supervisor import policy
from supervisor.core.runs.calls import LEAVE_LIMIT
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.failures import Failures
from supervisor.core.scheduling.keeper import RETURN, Keeper
from supervisor.core.scheduling.verdict import Answer, Verdict
from supervisor.errors import SupervisorError
from supervisor.lifecycle import State
from supervisor.model import Cause, Exit, Overrides, Receipt, Scaling
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, a_deployment, a_job, a_run, keeping, visit

CRASH = Behaviour(listens=None, lives=1, end=Exit(code=1, cause=Cause.FAILED))
LOSING_HELPER = Behaviour(listens=None, lives=1, end=Exit(cause=Cause.LOST))
QUIT_SOON = Behaviour(lives=2)
ONE_KEPT = a_content(scaling=Overrides(least=1))


async def admit_in(keeper: Keeper, seconds: float) -> Answer:
    with trio.fail_after(seconds):
        return await keeper.admission.request(None)


def code_of(keeper: Keeper) -> str:
    assert keeper.failure is not None
    return keeper.failure.code


def state_of(worker: Worker) -> State:
    return worker.state


async def until_failed(keeper: Keeper) -> None:
    while keeper.now().verdict is not Verdict.FAILED:
        await keeper.news()


# -- visits -------------------------------------------------------------------------------------


async def test_fifty_visitors_at_once_start_one_process_and_all_get_it(house: House) -> None:
    house.executor.behaves = Behaviour(start=1, listens=2)
    answers: list[Answer] = []

    async def visit(keeper: Keeper) -> None:
        answers.append(await keeper.admission.request(None))

    async with keeping(house.keeper()) as keeper:
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(visit, keeper)
        assert 1 == house.executor.count("start")
        assert {(Verdict.WORKER, keeper.workers[0])} == {(a.verdict, a.worker) for a in answers}
        assert 50 == len(answers)


async def test_visits_while_a_worker_is_being_made_start_no_other(house: House) -> None:
    async def slowly() -> None:
        await trio.sleep(5)

    house.making = slowly
    async with keeping(house.keeper(a_content(scaling=Overrides(most=3)))) as keeper:
        for _ in range(4):
            visit(keeper)
            await trio.sleep(1)
        await trio.sleep(10)
        assert 1 == house.executor.count("start")


async def test_a_sleeping_app_is_left_asleep_until_somebody_visits(house: House) -> None:
    async with keeping(house.keeper()) as keeper:
        await trio.sleep(1000)
        assert 0 == house.executor.count("start")
        assert Verdict.STARTING is visit(keeper).verdict
        await trio.sleep(1)
        assert Verdict.WORKER is visit(keeper).verdict


async def test_what_a_page_is_told_at_each_stage(house: House) -> None:
    house.executor.behaves = CRASH
    async with keeping(house.keeper()) as keeper:
        assert Verdict.STARTING is visit(keeper).verdict
        await until_failed(keeper)
        failure = visit(keeper).failure
        assert failure is not None
        assert ("start-failed", "ended with status 1") == (failure.code, failure.reason)
        assert ("[supervisor] ended with status 1",) == failure.lines
        keeper.stop(attrs.evolve(keeper.content, stopped=True), "stopped")
        assert Verdict.STOPPED is visit(keeper).verdict
    keeper = house.keeper()
    keeper.deployment = None
    assert Verdict.EMPTY is visit(keeper).verdict


async def test_admit_waits_for_readiness(house: House) -> None:
    house.executor.behaves = Behaviour(listens=30)
    async with keeping(house.keeper()) as keeper:
        began = trio.current_time()
        answer = await admit_in(keeper, 60)
        assert Verdict.WORKER is answer.verdict
        assert 30.0 == pytest.approx(trio.current_time() - began, abs=0.5)


async def test_admit_is_released_by_a_failure(house: House) -> None:
    house.executor.behaves = CRASH
    async with keeping(house.keeper()) as keeper:
        assert Verdict.FAILED is (await admit_in(keeper, 60)).verdict


async def test_admit_is_released_when_the_content_is_stopped(house: House) -> None:
    house.executor.behaves = Behaviour(listens=None)
    async with keeping(house.keeper()) as keeper, trio.open_nursery() as nursery:

        async def stop() -> None:
            await trio.sleep(5)
            keeper.stop(attrs.evolve(keeper.content, stopped=True), "stopped")

        nursery.start_soon(stop)
        assert Verdict.STOPPED is (await admit_in(keeper, 30)).verdict


async def test_a_plan_that_is_refused_is_a_failure_with_its_code(house: House) -> None:
    house.refuse = SupervisorError("runtime-missing", "no R here", hint="Install R")
    async with keeping(house.keeper()) as keeper:
        answer = await admit_in(keeper, 10)
        assert answer.failure is not None
        assert ("runtime-missing", "no R here") == (answer.failure.code, answer.failure.reason)
        assert ("Install R",) == answer.failure.lines


async def test_a_defect_while_making_a_worker_stays_in_its_slot(house: House) -> None:
    house.refuse = KeyError("a defect")
    async with keeping(house.keeper()) as keeper:
        answer = await admit_in(keeper, 10)
        assert answer.failure is not None
        assert "internal" == answer.failure.code


# -- failures -----------------------------------------------------------------------------------


async def test_it_backs_off_and_gives_up_after_five_failed_starts(house: House) -> None:
    house.executor.behaves = CRASH
    waits: list[float] = []
    async with keeping(house.keeper()) as keeper:
        for _ in range(policy.GIVE_UP_AFTER):
            assert Verdict.FAILED is (await admit_in(keeper, 10)).verdict
            assert keeper.failure is not None
            retry_at = keeper.failure.retry_at
            if retry_at is not None:
                waits.append(retry_at - trio.current_time())
                assert Verdict.FAILED is visit(keeper).verdict  # too early: nothing is started
                await trio.sleep(waits[-1] + 0.1)
        assert "gave-up" == code_of(keeper)
        await trio.sleep(10_000)
        assert Verdict.FAILED is visit(keeper).verdict
        assert policy.GIVE_UP_AFTER == house.executor.count("start")
    for wait, base in zip(waits, (1, 2, 4, 8), strict=True):
        assert base * 0.75 <= wait <= base * 1.25


async def test_restart_forgets_failures_and_starts_at_once(house: House) -> None:
    house.executor.behaves = CRASH
    async with keeping(house.keeper(failures=Failures(count=4))) as keeper:
        await admit_in(keeper, 10)
        assert "gave-up" == code_of(keeper)
        house.executor.behaves = Behaviour()
        keeper.restart(keeper.content)
        await trio.sleep(1)
        assert (Verdict.WORKER, 0) == (keeper.now().verdict, keeper.failures.count)


async def test_a_failure_that_will_mend_by_itself_is_never_given_up(house: House) -> None:
    house.refuse = SupervisorError("store-unavailable", "away", recoverable=True)
    async with keeping(house.keeper()) as keeper:
        for _ in range(20):
            await admit_in(keeper, 15)  # the delays below SOON alone may add up to 13
            await trio.sleep(100)
        house.refuse = None
        assert Verdict.WORKER is (await admit_in(keeper, 10)).verdict


async def test_runs_that_are_lost_before_they_serve_are_backed_off_from(house: House) -> None:
    house.executor.behaves = LOSING_HELPER
    async with keeping(house.keeper(ONE_KEPT)) as keeper:
        await trio.sleep(600)
        assert "gave-up" != code_of(keeper)
    assert 10 <= house.executor.count("start") <= 100


async def test_a_kept_app_is_tried_again_without_a_visit(house: House) -> None:
    house.executor.behaves = CRASH
    async with keeping(house.keeper(ONE_KEPT)):
        await trio.sleep(3)
        assert 2 == house.executor.count("start")
        await trio.sleep(10_000)
        assert policy.GIVE_UP_AFTER == house.executor.count("start")


async def test_an_app_that_keeps_ending_well_is_backed_off_from_too(house: House) -> None:
    house.executor.behaves = QUIT_SOON
    async with keeping(house.keeper(ONE_KEPT)) as keeper:
        await trio.sleep(1000)
        assert "gave-up" == code_of(keeper)
    assert policy.GIVE_UP_AFTER >= house.executor.count("start")


async def test_nothing_is_started_before_an_end_was_judged(house: House) -> None:
    """A failed worker writes its log before its slot ends; a visit meanwhile must not start one."""
    house.executor.behaves = CRASH
    async with keeping(house.keeper()) as keeper:
        visit(keeper)
        await trio.sleep(0.5)
        worker = keeper.workers[0]
        go_on = trio.Event()

        async def slow_disk(*args: object) -> None:
            with trio.CancelScope(shield=True):  # as a thread cannot be cancelled
                await go_on.wait()

        worker.output.in_thread = slow_disk
        await trio.sleep(5)
        assert worker.tracked.ended
        visit(keeper)
        await trio.sleep(5)
        assert 1 == house.executor.count("start")
        go_on.set()
        await until_failed(keeper)


async def test_a_served_process_that_is_killed_is_replaced_by_the_next_visit(house: House) -> None:
    async with keeping(house.keeper()) as keeper:
        first = (await admit_in(keeper, 10)).worker
        assert first is not None
        house.executor.runs[first.id].dies(Exit(signal=9, cause=Cause.FAILED))
        await trio.sleep(0.1)
        second = (await admit_in(keeper, 0.5)).worker
        assert second is not None
        assert first is not second
        assert "ended by signal 9 (SIGKILL)" == first.tracked.run.reason
        assert 2 == house.executor.count("start")


# -- how many -----------------------------------------------------------------------------------


async def test_idle_processes_drain_and_end_and_busy_ones_do_not(house: House) -> None:
    async with keeping(house.keeper()) as keeper:
        worker = (await admit_in(keeper, 10)).worker
        assert worker is not None
        worker.active(sockets=1, requests=0)
        await trio.sleep(10_000)
        assert State.READY is state_of(worker)
        worker.active(sockets=0, requests=0)
        keeper.wake()
        await trio.sleep(keeper.scaling.idle - 2)
        assert State.READY is state_of(worker)
        await trio.sleep(5)
        assert State.EXITED is state_of(worker)
        assert ["draining", "stopping", "exited"] == house.journal.story(worker.id)[3:]
        await trio.sleep(1000)
        assert 1 == house.executor.count("start")


async def test_a_short_idle_time_does_not_start_it_again(house: House) -> None:
    async with keeping(house.keeper(a_content(scaling=Overrides(idle=3)))) as keeper:
        await admit_in(keeper, 10)
        await trio.sleep(1000)
        assert 1 == house.executor.count("start")


async def test_who_comes_back_while_it_drains_keeps_the_process(house: House) -> None:
    async with keeping(house.keeper()) as keeper:
        worker = (await admit_in(keeper, 10)).worker
        assert worker is not None
        while state_of(worker) is not State.DRAINING:
            await keeper.news()
        worker.active(sockets=1, requests=0)  # a pinned visitor was on the way
        await trio.sleep(500)
        assert State.DRAINING is state_of(worker)
        worker.active(sockets=0, requests=0)
        await trio.sleep(5)
        assert State.EXITED is state_of(worker)


async def test_the_least_number_is_kept_up(house: House) -> None:
    async with keeping(house.keeper(a_content(scaling=Overrides(least=2, most=3)))) as keeper:
        await trio.sleep(1)
        assert [State.READY] * 2 == [worker.state for worker in keeper.workers]
        await trio.sleep(10_000)
        assert 2 == len(keeper.workers) == house.executor.count("start")


async def test_another_process_starts_when_the_first_is_loaded(house: House) -> None:
    scaling = Overrides(most=2, sessions_each=4, load_factor=0.5)
    async with keeping(house.keeper(a_content(scaling=scaling))) as keeper:
        worker = (await admit_in(keeper, 10)).worker
        assert worker is not None
        worker.active(sockets=1, requests=0)
        keeper.wake()
        await trio.sleep(5)
        assert 1 == len(keeper.workers)
        worker.active(sockets=2, requests=0)
        keeper.wake()
        await trio.sleep(5)
        assert 2 == len(keeper.workers)
        second = visit(keeper).worker
        assert second is not None
        assert second is not worker
        second.active(sockets=4, requests=0)
        worker.active(sockets=4, requests=0)
        await trio.sleep(5)
        assert 2 == len(keeper.workers)


# -- deployments --------------------------------------------------------------------------------


async def test_activation_drains_the_old_deployment_and_tells_when_it_is_deserted(
    house: House,
) -> None:
    async with keeping(house.keeper()) as keeper:
        old = (await admit_in(keeper, 10)).worker
        assert old is not None
        old.active(sockets=1, requests=0)
        new = await keeper.try_out(keeper.content, a_deployment(2))
        assert old is visit(keeper).worker
        keeper.activate(keeper.content, a_deployment(2))
        assert State.DRAINING is old.state
        assert new is visit(keeper).worker
        await trio.sleep(100)
        assert ([], State.DRAINING) == (house.deserted, old.state)
        old.active(sockets=0, requests=0)
        await trio.sleep(10)
        assert ([1], State.EXITED) == (house.deserted, old.state)
        assert State.READY is new.state


async def test_sessions_on_an_old_deployment_end_at_the_limit(house: House) -> None:
    async with keeping(house.keeper()) as keeper:
        old = (await admit_in(keeper, 10)).worker
        assert old is not None
        old.active(sockets=1, requests=0)
        keeper.activate(keeper.content, a_deployment(2))
        await trio.sleep(Scaling().drain + 10)
        assert State.EXITED is old.state


async def test_an_old_deployment_that_nobody_runs_is_deserted_at_once(house: House) -> None:
    async with keeping(house.keeper()) as keeper:
        keeper.activate(keeper.content, a_deployment(2))
        await trio.sleep(1)
        assert [1] == house.deserted


async def test_what_starts_for_an_old_deployment_is_stopped(house: House) -> None:
    house.executor.behaves = Behaviour(listens=None)
    async with keeping(house.keeper()) as keeper:
        visit(keeper)
        await trio.sleep(1)
        old = keeper.workers[0]
        keeper.activate(keeper.content, a_deployment(2))
        await trio.sleep(10)
        assert State.EXITED is old.state


async def test_a_deployment_that_does_not_start_raises_its_reason_and_lines(house: House) -> None:
    house.executor.behaves = attrs.evolve(CRASH, output=(("stderr", b"no package 'x'\n"),))
    async with keeping(house.keeper()) as keeper:
        with pytest.raises(SupervisorError, match="ended with status 1") as caught:
            await keeper.try_out(keeper.content, a_deployment(2))
        assert "no package 'x'" in caught.value.hint
        assert 0 == keeper.failures.count  # what is served has not failed
        await trio.sleep(1)
        assert [2] == house.deserted


# -- stopping -----------------------------------------------------------------------------------


async def test_a_stopped_content_starts_nothing_even_if_a_start_was_under_way(
    house: House,
) -> None:
    async def slowly() -> None:
        await trio.sleep(5)

    house.making = slowly
    async with keeping(house.keeper()) as keeper:
        visit(keeper)
        await trio.sleep(1)
        keeper.stop(attrs.evolve(keeper.content, stopped=True), "stopped")
        await trio.sleep(100)
        assert 0 == house.executor.count("start")


async def test_close_ends_everything_and_then_the_keeper(house: House) -> None:
    house.executor.behaves = Behaviour(obeys=None)
    content = a_content(scaling=Overrides(least=2, most=2))
    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            keeper = house.keeper(content)
            await nursery.start(keeper.run)
            await trio.sleep(1)
            began = trio.current_time()
            await keeper.close("the server stops", 3.0)
            assert 3.0 == pytest.approx(trio.current_time() - began, abs=0.2)
            assert [] == house.executor.living
    assert [] == keeper.workers


async def test_close_waits_for_a_start_that_is_under_way(house: House) -> None:
    async def slowly() -> None:
        await trio.sleep(5)

    house.making = slowly
    async with keeping(house.keeper()) as keeper:
        visit(keeper)
        await trio.sleep(1)
        await keeper.close("the server stops", 3.0)
        assert 0 == house.executor.count("start")


async def test_a_cancelled_keeper_leaves_its_processes(house: House) -> None:
    async with keeping(house.keeper()) as keeper:
        await admit_in(keeper, 10)
    assert (1, 0) == (len(house.executor.living), house.executor.count("stop"))


async def test_a_start_that_is_left_to_another_node_makes_room_for_others(house: House) -> None:
    house.executor.behaves = Behaviour(listens=30)
    async with keeping(house.keeper(ONE_KEPT)) as keeper:
        await trio.sleep(1)
        assert 1 == keeper.starts.under_way
        await keeper.leave("another node has it", list(keeper.workers))
        await trio.sleep(1)
        assert (1, 0) == (len(house.executor.living), keeper.starts.under_way)


async def test_a_process_that_does_not_end_holds_up_nobody_who_leaves_it(house: House) -> None:
    async def hang(receipt: Receipt, grace: float) -> None:
        await trio.sleep_forever()

    house.executor.stop = hang  # type: ignore[method-assign]
    async with keeping(house.keeper(ONE_KEPT)) as keeper:
        await trio.sleep(1)
        (stuck,) = keeper.workers
        with trio.fail_after(LEAVE_LIMIT + 1):
            assert {stuck} == await keeper.leave("another node has it", [])
        assert stuck.tracked.stuck
        await trio.sleep(1)
        assert [] == keeper.workers


# -- adopted workers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "deployment", "living"),
    [
        (State.READY, 1, True),
        (State.DRAINING, 1, False),
        (State.READY, 2, False),
        (State.PROBING, 2, False),
    ],
)
async def test_adopted_workers_go_on_and_what_was_leaving_leaves(
    house: House, state: State, deployment: int, living: bool
) -> None:
    run = a_run(state=state, deployment=deployment)
    receipt = await house.executor.start(a_job(run))
    worker = house.worker(attrs.evolve(run, receipt=receipt))
    known = {number: a_deployment(number) for number in (1, 2)}
    async with keeping(house.keeper(workers=[worker], known=known)):
        await trio.sleep(1)
        if state is State.DRAINING:  # the gateways need a moment to say who is on it
            assert State.DRAINING is state_of(worker)
        await trio.sleep(60)
        assert living is not worker.gone.is_set()
        assert 1 == house.executor.count("start")
        assert ([] if deployment == 1 else [2]) == house.deserted


@pytest.mark.parametrize(("deployment", "stays"), [(1, True), (3, False)])
async def test_only_an_adopted_process_that_visitors_came_to_is_given_time_for_their_return(
    house: House, deployment: int, stays: bool
) -> None:
    run = a_run(state=State.READY, deployment=deployment)
    receipt = await house.executor.start(a_job(run))
    worker = house.worker(attrs.evolve(run, receipt=receipt))
    known = {number: a_deployment(number) for number in (1, 2, 3)}
    async with keeping(house.keeper(deployment=known[2], workers=[worker], known=known)):
        await trio.sleep(1)
        assert stays is not worker.gone.is_set()


@pytest.mark.parametrize(("drained", "left"), [(0.0, 100.0), (60.0, 40.0), (500.0, RETURN)])
async def test_an_adopted_worker_drains_no_longer_than_its_limit_over_all_cores(
    house: House, drained: float, left: float
) -> None:
    run = a_run(state=State.DRAINING)
    receipt = await house.executor.start(a_job(run))
    worker = house.worker(attrs.evolve(run, receipt=receipt))
    worker.drained = drained
    content = a_content(active_deployment=2, scaling=Overrides(drain=100.0))
    known = {number: a_deployment(number) for number in (1, 2)}
    async with keeping(
        house.keeper(content=content, deployment=known[2], workers=[worker], known=known)
    ):
        worker.active(sockets=1, requests=0)
        await trio.sleep(left - 1)
        assert State.DRAINING is state_of(worker)
        await trio.sleep(2)
        assert worker.gone.is_set() or worker.ordered


async def test_an_adopted_draining_worker_keeps_the_sessions_that_come_back(house: House) -> None:
    run = a_run(state=State.DRAINING)
    receipt = await house.executor.start(a_job(run))
    worker = house.worker(attrs.evolve(run, receipt=receipt))
    async with keeping(house.keeper(workers=[worker])):
        await trio.sleep(5)
        worker.active(sockets=1, requests=0)
        await trio.sleep(500)
        assert State.DRAINING is state_of(worker)
        assert not math.isinf(worker.load().idle)
