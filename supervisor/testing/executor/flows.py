"""Flows: the whole way, from one core to the next and from a bundle to a visitor."""

from __future__ import annotations

import trio

from supervisor.model import Cause
from supervisor.testing import programs
from supervisor.testing.executor.harness import Alive, Harness, NewExecutor
from supervisor.testing.executor.seen import first_exit, read, until_exit, until_running


class Flows(Harness):
    """From one core to the next."""

    async def test_a_run_outlives_the_core_and_is_adopted_by_the_next(
        self, new_executor: NewExecutor, alive: Alive
    ) -> None:
        """The next core lists, reaches, does not start again, and stops what the first started."""
        async with self.life(new_executor) as first:
            self.needs(first, "a life beyond the core")
            receipt = await self.started(first, self.job(programs.SERVES))
            await until_running(first, receipt)
            there = await alive(receipt.run)
        assert there == await alive(receipt.run)
        async with self.life(new_executor) as second:
            assert [receipt] == [held for held in await second.list() if held.run == receipt.run]
            await self.reach(second, receipt)
            assert receipt == await second.start(self.job(programs.SERVES, run=receipt.run))
            assert there == await alive(receipt.run)
            await second.stop(receipt, 0.0)
            assert Cause.STOPPED is (await until_exit(second, receipt)).cause
        assert 0 == await alive(receipt.run)

    async def test_last_words_are_read_after_the_end_by_the_next_core(
        self, new_executor: NewExecutor
    ) -> None:
        """What ended while no core lived keeps its Exit and its output for the next one."""
        async with self.life(new_executor) as first:
            self.needs(first, "output", "a life beyond the core")
            receipt = await first.start(self.job(programs.says("last-words", status=4)))
        await trio.sleep(0.2 * self.scale)
        async with self.life(new_executor) as second:
            ended = await first_exit(second, receipt)
            seen, _ = await read(second, receipt)
            assert (4, b"last-words\n") == (ended.code, seen["stdout"])
