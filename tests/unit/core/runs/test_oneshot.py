"""One process that does one thing: what it said, how it ended, and its time limit."""

from __future__ import annotations

import attrs
import pytest
import trio

from supervisor.core.runs.calls import START_LIMIT
from supervisor.core.runs.oneshot import OneShot
from supervisor.core.runs.output import Output
from supervisor.core.runs.tracked import Tracked
from supervisor.errors import StoreUnavailable, SupervisorError
from supervisor.lifecycle import State
from supervisor.model import Cause, Exit, Purpose, Run
from supervisor.testing.executors import AwayExecutor, Behaviour, BlindExecutor, StuckStopExecutor
from supervisor.testing.house import House, a_job, a_run, at_once, serving


@attrs.define(eq=False)
class Shot:
    one: OneShot
    heard: list[tuple[str, bytes]]

    async def live(self) -> Exit:
        with trio.fail_after(10_000):
            return await self.one.live(a_job(self.one.tracked.run))

    @property
    def run(self) -> Run:
        return self.one.tracked.run


def shot(house: House, **fields: object) -> Shot:
    run = a_run(purpose=Purpose.UNPACK)
    heard: list[tuple[str, bytes]] = []
    given = {"executor": house.executor, **fields}
    one = OneShot(
        tracked=Tracked(run=run, journal=house.journal, log=house.log, clock=trio.current_time),
        output=Output(run=run.id, path=f"{house.paths}/log", in_thread=at_once),
        heard=lambda stream, data: heard.append((stream, data)),
        **given,  # type: ignore[arg-type]
    )
    return Shot(one=one, heard=heard)


async def test_it_gives_the_exit_and_every_byte(house: House) -> None:
    house.executor.behaves = Behaviour(lives=5, output=(("stdout", b"a\n"), ("stderr", b"b")))
    done = shot(house)
    assert Exit(code=0, cause=Cause.FINISHED) == await done.live()
    assert ["starting", "working", "exited"] == house.journal.story(done.run.id)
    assert [("stdout", b"a\n"), ("stderr", b"b")] == done.heard
    assert ["a", "b"] == done.one.output.last_lines()
    assert [] == await house.executor.list()  # it was forgotten


async def test_another_status_is_a_failure_and_no_exception(house: House) -> None:
    house.executor.behaves = Behaviour(lives=1, end=Exit(code=65, cause=Cause.FAILED))
    done = shot(house)
    assert 65 == (await done.live()).code
    assert (State.FAILED, "ended with status 65") == (done.run.state, done.run.reason)


async def test_it_may_end_before_anybody_saw_it_running(house: House) -> None:
    house.executor.behaves = Behaviour(pending=("x",) * 9)
    done = shot(house)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(done.live)
        await trio.sleep(1)
        house.executor.runs[done.run.id].dies(Exit(code=0, cause=Cause.FINISHED))
    assert ["starting", "exited"] == house.journal.story(done.run.id)


async def test_a_refused_start_is_an_exit_with_its_reason(house: House) -> None:
    house.executor.behaves = Behaviour(refusal=SupervisorError("job-refused", "not you"))
    done = shot(house)
    assert (None, "not you") == ((await done.live()).code, done.run.reason)
    assert ["starting", "failed"] == house.journal.story(done.run.id)


async def test_a_start_without_an_answer_ends_in_time(house: House) -> None:
    house.executor.behaves = Behaviour(start=START_LIMIT * 2)
    done = shot(house)
    assert (await done.live()).code is None
    assert State.FAILED is done.run.state


async def test_nothing_is_started_that_could_not_be_recorded(house: House) -> None:
    house.journal.away = True
    with pytest.raises(StoreUnavailable):
        await shot(house).live()
    assert 0 == house.executor.count("start")


async def test_it_is_ended_at_its_time_limit_and_says_so(house: House) -> None:
    house.executor.behaves = Behaviour(obeys=None)
    done = shot(house, run_limit=600.0)
    assert 9 == (await done.live()).signal
    assert ["starting", "working", "stopping", "failed"] == house.journal.story(done.run.id)
    assert done.run.reason.startswith("not done after 600 s")


async def test_one_that_streams_may_take_as_long_as_it_goes_on_writing(house: House) -> None:
    house.executor.behaves = Behaviour(obeys=None)
    done = shot(house, run_limit=600.0, streams=True)

    async def write() -> None:
        for _ in range(10):
            await trio.sleep(500)
            house.executor.runs[done.run.id].writes("stdout", b"more")

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        assert 9 == (await done.live()).signal
    assert 10 == len(done.heard)
    assert 5600 <= trio.current_time() - began < 5700
    assert done.run.reason.startswith("nothing came for 600 s")


async def test_a_stop_that_hangs_at_the_limit_is_repeated(house: House) -> None:
    async with serving(StuckStopExecutor(house.executor.directory)) as executor:
        assert isinstance(executor, StuckStopExecutor)
        done = shot(house, executor=executor, run_limit=10.0)
        await done.live()
        assert [] == executor.living
    assert State.FAILED is done.run.state


async def test_an_executor_that_was_away_is_asked_again(house: House) -> None:
    async with serving(AwayExecutor(house.executor.directory)) as executor:
        assert isinstance(executor, AwayExecutor)
        executor.away = False
        executor.behaves = Behaviour(lives=20)
        done = shot(house, executor=executor)

        async def go_away() -> None:
            await trio.sleep(1)
            executor.away = True
            executor.runs[done.run.id].tell()
            await trio.sleep(30)
            executor.away = False

        async with trio.open_nursery() as nursery:
            nursery.start_soon(go_away)
            assert 0 == (await done.live()).code
    assert State.EXITED is done.run.state


async def test_an_executor_that_loses_sight_of_it_makes_it_lost(house: House) -> None:
    async with serving(BlindExecutor(house.executor.directory)) as executor:
        done = shot(house, executor=executor)
        assert Cause.LOST is (await done.live()).cause
    assert State.LOST is done.run.state


async def test_cancelled_it_stays_for_the_next_core(house: House) -> None:
    done = shot(house)
    with trio.move_on_after(5):
        await done.live()
    assert (1, 0) == (len(house.executor.living), house.executor.count("stop"))
    assert State.WORKING is done.run.state
