"""Invariants of stopping: the process gets its grace, then its whole tree ends, and once only."""

from __future__ import annotations

import trio

from supervisor.interfaces import Executor
from supervisor.model import Cause
from supervisor.testing import programs
from supervisor.testing.executor.harness import LONG, Alive, Harness
from supervisor.testing.executor.seen import until_exit


class Stopping(Harness):
    """Invariants of stop()."""

    async def test_a_process_that_obeys_ends_within_its_grace_as_it_wants(
        self, executor: Executor, alive: Alive
    ) -> None:
        """One that tidies up when asked has the time for it; stop returns as soon as it ends."""
        program = programs.tidies_up("TERM", 0.3 * self.scale)
        receipt = await self.started(executor, self.job(program))
        with trio.fail_after(20 * self.scale):
            await executor.stop(receipt, LONG)
        assert 0 == await alive(receipt.run)
        ended = await until_exit(executor, receipt)
        assert (7, Cause.STOPPED) == (ended.code, ended.cause)

    async def test_the_signal_of_the_plan_asks_a_process_to_end(self, executor: Executor) -> None:
        """Plan.stop_signal is what the process is sent first."""
        program = programs.tidies_up("INT", 0.0)
        receipt = await self.started(executor, self.job(program, stop_signal="INT"))
        with trio.fail_after(20 * self.scale):
            await executor.stop(receipt, LONG)
        ended = await until_exit(executor, receipt)
        assert (7, Cause.STOPPED) == (ended.code, ended.cause)

    async def test_a_tree_that_does_not_want_to_end_is_ended_after_the_grace(
        self, executor: Executor, alive: Alive
    ) -> None:
        """After the grace, not before, every process of the run is killed; then stop returns."""
        receipt = await self.started(executor, self.job(programs.STUBBORN))
        grace, begun = 1.0 * self.scale, trio.current_time()
        await executor.stop(receipt, grace)
        took = trio.current_time() - begun
        assert grace * 0.9 <= took <= grace + 10 * self.scale
        assert 0 == await alive(receipt.run)
        ended = await until_exit(executor, receipt)
        assert (None, Cause.STOPPED) == (ended.code, ended.cause)

    async def test_stopping_twice_at_once_and_again_is_stopping_once(
        self, executor: Executor
    ) -> None:
        """Stop is idempotent: at the same time, of what has ended, and of what is forgotten."""
        receipt = await self.started(executor, self.job(programs.SLEEPS))
        with trio.fail_after(20 * self.scale):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(executor.stop, receipt, 0.0)
                nursery.start_soon(executor.stop, receipt, 0.0)
            await executor.stop(receipt, LONG)
        assert Cause.STOPPED is (await until_exit(executor, receipt)).cause
        with trio.fail_after(3 * self.scale):
            await executor.stop(receipt, LONG)

    async def test_what_is_still_starting_can_be_stopped(
        self, executor: Executor, alive: Alive
    ) -> None:
        """Stopped at once after its start, a run leaves nothing, and its Exit says stopped."""
        receipt = await executor.start(self.job(programs.SLEEPS))
        await executor.stop(receipt, 0.0)
        assert 0 == await alive(receipt.run)
        assert Cause.STOPPED is (await until_exit(executor, receipt)).cause

    async def test_an_ending_goes_on_without_whoever_asked_for_it(
        self, executor: Executor, alive: Alive
    ) -> None:
        """A stop that is cancelled ends at once; the run ends all the same, after its grace."""
        receipt = await self.started(executor, self.job(programs.STUBBORN))
        with trio.move_on_after(0.3 * self.scale) as scope:
            await executor.stop(receipt, 0.6 * self.scale)
        assert scope.cancelled_caught
        with trio.fail_after(20 * self.scale):
            assert Cause.STOPPED is (await until_exit(executor, receipt)).cause
        assert 0 == await alive(receipt.run)
