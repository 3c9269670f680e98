"""Invariants: what holds for every executor, whatever it runs and wherever."""

from __future__ import annotations

import json
from contextlib import aclosing, suppress

import attrs
import pytest
import trio

from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor, Finding
from supervisor.model import Cause, Exit, Job, Observation, Pending, Receipt, Running, new_run_id
from supervisor.testing import programs
from supervisor.testing.executor.harness import LONG, Alive, Harness
from supervisor.testing.executor.held import task_steps
from supervisor.testing.executor.seen import first_exit, until_exit, until_running
from supervisor.wire import from_json, to_json

HELD = 0.25  # seconds of a step of a task that are too many


class Invariants(Harness):
    """Starting, watching and listing."""

    # Starting

    async def test_the_same_job_twice_is_one_process_and_one_receipt(
        self, executor: Executor, alive: Alive
    ) -> None:
        """Started three times at once, and again from JSON, a run has one process and receipt."""
        job = self.job(programs.SLEEPS)
        text = json.dumps(to_json(job))
        receipts: list[Receipt] = []

        async def start() -> None:
            receipts.append(await executor.start(job))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(start)
        await until_running(executor, receipts[0])
        once = await alive(job.run)
        assert once > 0
        assert receipts[0] == await executor.start(from_json(Job, json.loads(text)))
        assert receipts[:1] * 3 == receipts
        assert once == await alive(job.run)
        assert [receipts[0]] == [held for held in await executor.list() if held.run == job.run]

    async def test_a_receipt_is_json_and_names_the_run_and_the_executor(
        self, executor: Executor
    ) -> None:
        """A receipt that went through JSON is as good as the one that start gave."""
        job = self.job(programs.SLEEPS)
        receipt = await executor.start(job)
        assert (job.run, executor.name) == (receipt.run, executor.name)
        again = from_json(Receipt, json.loads(json.dumps(to_json(receipt))))
        assert receipt == again
        await executor.stop(again, 0.0)
        assert Cause.STOPPED is (await until_exit(executor, again)).cause

    @pytest.mark.parametrize("turns", [0, 1, 3, 10])
    async def test_a_start_that_is_cancelled_leaves_nothing_or_a_stray_that_can_be_stopped(
        self, executor: Executor, alive: Alive, turns: int
    ) -> None:
        """A cancelled start ends soon, and stopping all that the list shows leaves no process."""
        job, begun = self.job(programs.SLEEPS), trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(executor.start, job)
            for _ in range(turns):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - begun < 20 * self.scale
        for _ in range(5):  # what was asked for may come to be a moment later
            for receipt in await executor.list():
                await executor.stop(receipt, 0.0)
            await trio.sleep(0.1 * self.scale)
        assert 0 == await alive(job.run)

    async def test_a_program_that_is_not_there_fails_with_a_reason_and_leaves_nothing(
        self, executor: Executor, alive: Alive
    ) -> None:
        """Start raises SupervisorError, or the run ends with Cause.FAILED and says why."""
        job = self.job(programs.MISSING)
        try:
            receipt = await executor.start(job)
        except SupervisorError:
            assert [] == [held for held in await executor.list() if held.run == job.run]
        else:
            ended = await until_exit(executor, receipt)
            assert Cause.FAILED is ended.cause
            assert ended.detail or ended.code
            await executor.stop(receipt, 0.0)
        assert 0 == await alive(job.run)

    # Watching

    async def test_the_first_observation_comes_at_once_and_running_before_exit(
        self, executor: Executor
    ) -> None:
        """Watch tells the present state at once, then Running, and Exit once and last."""
        receipt = await executor.start(self.job(programs.SLEEPS))
        seen: list[Observation] = []
        with trio.fail_after(self.scale) as at_once:
            async with aclosing(executor.watch(receipt)) as observations:
                async for news in observations:
                    at_once.deadline = trio.current_time() + 20 * self.scale
                    seen.append(news)
                    if isinstance(news, Running):
                        await executor.stop(receipt, 0.0)
        kinds = [type(news) for news in seen]
        assert Exit is kinds[-1]
        assert 1 == kinds.count(Exit)
        assert Running in kinds
        assert Pending not in kinds[kinds.index(Running) :]

    async def test_watching_may_end_and_begin_again(self, executor: Executor) -> None:
        """A watch that is cancelled ends at once, and the next begins with the same Running."""
        receipt = await executor.start(self.job(programs.SLEEPS))
        first = await until_running(executor, receipt)

        async def end_it_in_time() -> None:  # or a watch that does not end would hang the test
            await trio.sleep(5 * self.scale)
            await executor.stop(receipt, 0.0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(end_it_in_time)
            with trio.move_on_after(0.2 * self.scale) as scope:
                await until_exit(executor, receipt)
            nursery.cancel_scope.cancel()
        assert scope.cancelled_caught, "watch did not end when it was cancelled"
        with trio.fail_after(self.scale):
            assert first == await until_running(executor, receipt)

    async def test_a_generator_holds_no_scope_open_while_it_yields(
        self, executor: Executor
    ) -> None:
        """Whoever watches may wait for each observation in a cancel scope of its own."""
        receipt = await executor.start(self.job(programs.SLEEPS))
        observations = executor.watch(receipt)
        seen: Observation = Pending()
        while not isinstance(seen, Running):
            with trio.fail_after(20 * self.scale):
                seen = await anext(observations)
        with trio.move_on_after(20 * self.scale):
            await observations.aclose()

    async def test_everybody_who_watches_is_told_the_same_exit(self, executor: Executor) -> None:
        """Two that watch, and one that comes later, see one Exit."""
        receipt = await self.started(executor, self.job(programs.SLEEPS))
        seen: list[Exit] = []

        async def watch() -> None:
            seen.append(await first_exit(executor, receipt))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(watch)
            nursery.start_soon(watch)
            await executor.stop(receipt, 0.0)
        seen.append(await first_exit(executor, receipt))
        assert seen[:1] * 3 == seen

    # What is unknown

    async def test_something_unknown_is_lost_and_stops_at_once(self, executor: Executor) -> None:
        """Of a run that never was, watch gives Exit with Cause.LOST, and stop returns at once."""
        unknown = self.unknown(executor)
        with trio.fail_after(3 * self.scale):
            assert Cause.LOST is (await until_exit(executor, unknown)).cause
            await executor.stop(unknown, LONG)

    async def test_the_numbers_of_another_run_are_not_taken_for_those_of_its_own(
        self, executor: Executor, alive: Alive
    ) -> None:
        """A receipt whose pid (or the like) is another run's by now is lost or refused."""
        receipt = await self.started(executor, self.job(programs.SLEEPS))
        there = await alive(receipt.run)
        stale = attrs.evolve(receipt, run=new_run_id())
        with trio.fail_after(3 * self.scale):
            with suppress(SupervisorError):  # to refuse it is as safe
                assert Cause.LOST is (await until_exit(executor, stale)).cause
            with suppress(SupervisorError):
                await executor.stop(stale, 0.0)
        assert there == await alive(receipt.run)

    # The loop

    async def test_no_call_holds_the_loop(self, executor: Executor) -> None:
        """No call waits without letting others run: for 0.25 s, a whole server would stand still.

        A machine that is busy may do the same now and then, so there are three attempts.
        """
        for _ in range(3):
            with task_steps() as steps:
                receipt = await executor.start(self.job(programs.SLEEPS))
                await until_running(executor, receipt)
                await executor.list()
                if executor.capabilities.usage:
                    await executor.usage([receipt.run])
                await executor.stop(receipt, 0.0)
                await until_exit(executor, receipt)
            if max(steps) < HELD:
                return
        raise AssertionError(f"a call held the loop for {max(steps):.2f} s")

    # What is held

    async def test_the_list_shows_what_is_held_and_nothing_that_has_gone(
        self, executor: Executor
    ) -> None:
        """The list has every run that lives by its receipt; what was watched to its end leaves."""
        one = await executor.start(self.job(programs.SLEEPS))
        two = await executor.start(self.job(programs.SLEEPS))
        held = {receipt.run: receipt for receipt in await executor.list()}
        assert {one.run: one, two.run: two} == held
        await executor.stop(one, 0.0)
        await until_exit(executor, one)
        await self.gone(executor, one)
        assert [two] == [*await executor.list()]

    async def test_doctor_is_told_findings(self, executor: Executor) -> None:
        """check() gives findings that each have a name and a text, and starts nothing."""
        with trio.fail_after(20 * self.scale):
            findings = await executor.check()
        assert [] == [one for one in findings if not isinstance(one, Finding)]
        assert [] == [one for one in findings if not (one.name and one.text)]
        assert [] == [*await executor.list()]
