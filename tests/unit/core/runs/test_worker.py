"""One serving process: every path of the table, on a clock that jumps."""

from __future__ import annotations

import attrs
import pytest
import trio

from supervisor.core.runs.calls import START_LIMIT
from supervisor.core.runs.worker import Worker
from supervisor.errors import SupervisorError
from supervisor.lifecycle import State
from supervisor.model import Cause, Exit, Job, Run, Scaling
from supervisor.testing.executors import (
    AwayExecutor,
    Behaviour,
    BlindExecutor,
    BrokenWatchExecutor,
    ScriptedExecutor,
    SlowAnswerExecutor,
    StuckStopExecutor,
)
from supervisor.testing.house import House, a_job, a_run, serving

READY_STORY = ["starting", "probing", "ready"]
IMPATIENT = Scaling(init=20.0)


def exited(code: int) -> Exit:
    return Exit(code=code, cause=Cause.FINISHED if code == 0 else Cause.FAILED)


async def live(worker: Worker) -> Worker:
    """Let a worker live until it is gone."""
    with trio.fail_after(10_000):
        await worker.live(a_job(worker.tracked.run))
    return worker


def story(house: House, worker: Worker) -> list[str]:
    return house.journal.story(worker.id)


# -- the table, path by path --------------------------------------------------------------------


async def test_a_worker_is_started_probed_ready_stopped_and_each_move_is_journalled(
    house: House,
) -> None:
    house.executor.behaves = Behaviour(start=1, pending=("pulling",), listens=3, obeys=2)
    began = trio.current_time()
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        assert 5.0 == pytest.approx(trio.current_time() - began, abs=0.3)
        worker.stop("enough")
    assert [*READY_STORY, "stopping", "exited"] == story(house, worker)
    run = house.journal.last(worker.id)
    assert ("enough", Exit(signal=15, cause=Cause.STOPPED)) == (run.reason, run.exit)
    assert run.started is not None
    assert run.ready is not None
    assert run.ended is not None
    assert run.started < run.ready < run.ended


async def test_the_record_is_durable_before_the_executor_is_asked(house: House) -> None:
    seen: list[State] = []

    def look(job: Job) -> None:
        stored = house.journal.store.get("run", job.run)
        assert isinstance(stored, Run)
        seen.append(stored.state)

    house.journal.facts_wait = True
    house.journal.slow = 0.5
    house.executor.on_start = look
    house.executor.behaves = Behaviour(lives=1)
    await live(house.worker())
    assert [State.STARTING] == seen


async def test_nothing_is_started_that_could_not_be_recorded(house: House) -> None:
    house.journal.away = True
    worker = await live(house.worker())
    assert 0 == house.executor.count("start")
    assert State.FAILED is worker.state
    assert worker.error is not None
    assert worker.error.recoverable


async def test_a_refused_start_fails_with_what_the_executor_said(house: House) -> None:
    refusal = SupervisorError("sandbox-failed", "mount /x: no such directory")
    house.executor.behaves = Behaviour(refusal=refusal)
    worker = await live(house.worker())
    assert ["starting", "failed"] == story(house, worker)
    assert "mount /x: no such directory" == house.journal.last(worker.id).reason
    assert refusal is worker.error


async def test_a_start_that_gets_no_answer_fails_and_leaves_no_stray(house: House) -> None:
    began = trio.current_time()
    async with serving(SlowAnswerExecutor(house.executor.directory)) as executor:
        assert isinstance(executor, SlowAnswerExecutor)
        worker = await live(house.worker(executor=executor))
        assert [] == executor.living
    assert ["starting", "failed"] == story(house, worker)
    assert worker.too_slow
    assert START_LIMIT <= trio.current_time() - began
    assert "no answer in 60 s" in worker.tracked.run.reason


async def test_what_is_never_ready_is_ended_and_the_reason_says_what_it_waited_for(
    house: House,
) -> None:
    house.executor.behaves = Behaviour(listens=None)
    worker = await live(house.worker(scaling=IMPATIENT))
    assert ["starting", "probing", "stopping", "failed"] == story(house, worker)
    reason = worker.tracked.run.reason
    assert "not ready after 20 s (InitTimeout): it does not listen yet" == reason


async def test_what_never_runs_is_ended_by_the_same_limit(house: House) -> None:
    house.executor.behaves = Behaviour(pending=("no node has room",) * 1000)
    worker = await live(house.worker(scaling=IMPATIENT))
    assert ["starting", "stopping", "failed"] == story(house, worker)
    assert "no node has room" in worker.tracked.run.reason


async def test_no_init_limit_means_none(house: House) -> None:
    house.executor.behaves = Behaviour(listens=500, lives=600)
    worker = await live(house.worker(scaling=Scaling(init=0)))
    assert [*READY_STORY, "exited"] == story(house, worker)


async def test_an_end_while_probing_is_a_failure_even_with_status_zero(house: House) -> None:
    house.executor.behaves = Behaviour(listens=None, lives=2)
    worker = await live(house.worker())
    assert ["starting", "probing", "failed"] == story(house, worker)


async def test_an_end_before_it_was_seen_running_says_so(house: House) -> None:
    house.executor.behaves = Behaviour(pending=("x",) * 50)
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await trio.sleep(3)
        house.executor.runs[worker.id].dies(exited(0))
    assert ["starting", "failed"] == story(house, worker)
    assert "ended with status 0 before it listened" == worker.tracked.run.reason


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (exited(0), State.EXITED, "ended with status 0"),
        (exited(3), State.FAILED, "ended with status 3"),
        (Exit(signal=9, cause=Cause.FAILED), State.FAILED, "ended by signal 9 (SIGKILL)"),
        (
            Exit(signal=9, cause=Cause.MEMORY, detail="over 512 MiB"),
            State.FAILED,
            "over 512 MiB",
        ),
        (Exit(signal=9, cause=Cause.MEMORY), State.FAILED, "more memory than its limit"),
        (Exit(cause=Cause.LOST, detail="the node is gone"), State.LOST, "the node is gone"),
    ],
)
async def test_how_a_ready_process_ends_is_its_state_and_reason(
    house: House, end: Exit, state: State, reason: str
) -> None:
    house.executor.behaves = Behaviour(lives=100, end=end)
    worker = await live(house.worker())
    assert [*READY_STORY, state.value] == story(house, worker)
    assert reason in worker.tracked.run.reason
    assert end == house.journal.last(worker.id).exit


async def test_a_drained_worker_ends_when_it_is_stopped(house: House) -> None:
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        worker.drain("a newer deployment is active")
        assert not worker.load().ready
        worker.stop("a newer deployment is active")
    assert [*READY_STORY, "draining", "stopping", "exited"] == story(house, worker)


async def test_a_draining_worker_may_end_by_itself(house: House) -> None:
    house.executor.behaves = Behaviour(lives=50, end=exited(1))
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        worker.drain("idle")
    assert [*READY_STORY, "draining", "failed"] == story(house, worker)


async def test_only_a_ready_worker_drains(house: House) -> None:
    worker = house.worker()
    worker.drain("too early")
    assert State.QUEUED is worker.state


# -- stopping -----------------------------------------------------------------------------------


async def test_a_process_that_ignores_the_request_is_killed_after_the_grace(house: House) -> None:
    house.executor.behaves = Behaviour(obeys=None)
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        asked = trio.current_time()
        worker.stop("enough")
    assert 5.0 == pytest.approx(trio.current_time() - asked, abs=0.1)
    assert [5.0] == house.executor.runs[worker.id].orders
    assert 9 == attrs.asdict(house.journal.last(worker.id))["exit"]["signal"]


async def test_a_kill_hurries_a_stop_that_is_under_way(house: House) -> None:
    house.executor.behaves = Behaviour(obeys=None)
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        asked = trio.current_time()
        worker.stop("enough")
        await trio.sleep(1)
        worker.stop("killed by an administrator", grace=0.0)
    assert 1.0 == pytest.approx(trio.current_time() - asked, abs=0.1)
    assert [5.0, 0.0] == house.executor.runs[worker.id].orders
    assert "enough" == worker.tracked.run.reason


async def test_a_stop_while_starting_ends_it_without_a_failure(house: House) -> None:
    house.executor.behaves = Behaviour(start=2, listens=None)
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await trio.sleep(1)
        worker.stop("nobody wants it")
    assert "exited" == story(house, worker)[-1]
    assert "failed" not in story(house, worker)
    assert [] == house.executor.living


async def test_what_is_stopped_while_it_is_recorded_is_never_started(house: House) -> None:
    house.journal.slow = 1.0
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await trio.sleep(0.5)
        worker.stop("nobody wants it")
    assert 0 == house.executor.count("start")
    assert ["starting", "stopping", "exited"] == story(house, worker)


async def test_what_is_stopped_in_the_queue_is_never_started(house: House) -> None:
    worker = house.worker()
    worker.stop("nobody wants it")
    await live(worker)
    assert 0 == house.executor.count("start")
    assert ["exited"] == story(house, worker)


# -- executors that misbehave -------------------------------------------------------------------


async def test_an_executor_that_is_away_is_asked_again_and_the_process_serves_on(
    house: House,
) -> None:
    async with serving(AwayExecutor(house.executor.directory)) as executor:
        assert isinstance(executor, AwayExecutor)
        executor.away = False
        worker = house.worker(executor=executor)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live, worker)
            await worker.ready.wait()
            executor.away = True
            executor.runs[worker.id].tell()
            await trio.sleep(10)
            assert State.READY is worker.state
            executor.away = False
            await trio.sleep(2)
            executor.runs[worker.id].dies(exited(3))
    assert [*READY_STORY, "failed"] == story(house, worker)


async def test_a_stop_is_repeated_until_the_executor_obeys(house: House) -> None:
    async with serving(StuckStopExecutor(house.executor.directory)) as executor:
        assert isinstance(executor, StuckStopExecutor)
        worker = house.worker(executor=executor)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(live, worker)
            await worker.ready.wait()
            worker.stop("enough")
        assert [] == executor.living
    assert "exited" == story(house, worker)[-1]


@pytest.mark.parametrize("broken", [BlindExecutor, BrokenWatchExecutor])
async def test_no_process_is_left_that_nobody_watches(
    house: House, broken: type[ScriptedExecutor]
) -> None:
    async with serving(broken(house.executor.directory)) as executor:
        assert isinstance(executor, broken)
        worker = await live(house.worker(executor=executor))
        assert [] == executor.living
    assert State.LOST is worker.state
    assert worker.gone.is_set()


async def test_a_process_that_cannot_be_reached_is_a_failed_start(house: House) -> None:
    house.executor.behaves = Behaviour(endpoint=False)
    worker = await live(house.worker())
    assert State.FAILED is worker.state
    assert "no way to reach it" in worker.tracked.run.reason


async def test_a_run_is_forgotten_only_after_its_end_is_recorded(house: House) -> None:
    house.journal.facts_wait = True
    house.executor.behaves = Behaviour(lives=1)
    worker = await live(house.worker())
    stored = house.journal.store.get("run", worker.id)
    assert isinstance(stored, Run)
    assert State.EXITED is stored.state
    assert [] == await house.executor.list()


# -- what it writes, and what it is used for ----------------------------------------------------


async def test_what_a_process_wrote_last_is_kept_with_how_it_ended(house: House) -> None:
    house.executor.behaves = Behaviour(
        listens=None,
        lives=1,
        end=exited(1),
        output=(("stderr", b"Error in library(shiny)\nHalted"),),
    )
    worker = await live(house.worker())
    assert [
        "Error in library(shiny)",
        "[supervisor] ended with status 1",
        "Halted",
    ] == worker.output.last_lines()


async def test_idle_time_begins_when_the_last_session_ends(house: House) -> None:
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        worker.active(sockets=1, requests=0)
        await trio.sleep(100)
        worker.active(sockets=0, requests=0)
        await trio.sleep(7)
        assert 7.0 == pytest.approx(worker.load().idle)
        worker.stop("enough")


async def test_deserted_waits_for_sessions_and_requests(house: House) -> None:
    worker = house.worker()
    began = trio.current_time()
    left: list[float] = []

    async def wait() -> None:
        await worker.deserted()
        left.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        worker.active(sockets=1, requests=1)
        nursery.start_soon(wait)
        await trio.sleep(1)
        worker.active(sockets=0, requests=1)
        await trio.sleep(1)
        assert [] == left
        worker.active(sockets=0, requests=0)
    assert [2.0] == pytest.approx(left)


# -- another core -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "after", "state"),
    [
        (Behaviour(pending=("x",) * 20), 5, State.STARTING),
        (Behaviour(listens=20), 5, State.PROBING),
        (Behaviour(), 5, State.READY),
    ],
)
async def test_a_cancelled_core_leaves_the_process_and_the_next_goes_on(
    house: House, behaviour: Behaviour, after: float, state: State
) -> None:
    house.executor.behaves = behaviour
    first = house.worker()
    with trio.move_on_after(after):
        await first.live(a_job(first.tracked.run))
    assert state is first.state
    assert (1, 0) == (house.executor.count("start"), house.executor.count("stop"))

    second = house.worker(house.journal.last(first.id))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.live, None)
        await second.ready.wait()
        second.stop("enough")
    assert 1 == house.executor.count("start")
    assert [*READY_STORY, "stopping", "exited"] == story(house, first)


@pytest.mark.parametrize("draining", [True, False])
async def test_a_worker_that_drains_or_stops_is_adopted_as_it_stands(
    house: House, draining: bool
) -> None:
    house.executor.behaves = Behaviour(obeys=4)
    first = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.live, a_job(first.tracked.run))
        await first.ready.wait()
        if draining:
            first.drain("idle")
        else:
            first.stop("enough")
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    second = house.worker(house.journal.last(first.id))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(second.live, None)
        if draining:
            await second.ready.wait()
            assert State.DRAINING is second.state
            second.stop("idle")
    assert "exited" == story(house, first)[-1]
    assert 1 == house.executor.count("start")
    assert [] == house.executor.living


async def test_a_run_that_its_executor_does_not_know_is_lost(house: House) -> None:
    receipt = attrs.evolve(house.worker().tracked.run)
    run = a_run(state=State.READY)
    house.executor.behaves = Behaviour()
    stranger = ScriptedExecutor(house.executor.directory)
    async with serving(stranger):
        known = await stranger.start(a_job(run))
        worker = house.worker(attrs.evolve(run, receipt=known))
        await worker.live(None)
    assert State.LOST is worker.state
    assert receipt.id != worker.id


async def test_a_run_without_a_receipt_is_lost(house: House) -> None:
    worker = house.worker(a_run(state=State.STARTING))
    await worker.live(None)
    assert ["lost"] == story(house, worker)
