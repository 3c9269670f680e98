"""One fault each, in output and from core to core: each docstring names the tests that fail."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import attrs
import trio

from supervisor import (
    Job,
    OutputChunk,
    Receipt,
    RunId,
)
from tests.support.machine import KILL
from tests.support.memory_executor import Backend, Held, MemoryExecutor


class RepeatsOutput(MemoryExecutor):
    """Output that is read on begins with what was read last.

    test_output_resumed_by_its_cursor_loses_and_doubles_nothing
    """

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        async for chunk in super().output(receipt, str(max(0, int(cursor or 0) - 1))):
            yield chunk


class LosesOutput(MemoryExecutor):
    """What is written while nobody reads is lost.

    test_last_words_are_read_after_the_end_by_the_next_core
    """

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        held = self.held(receipt)
        now = len(held.chunks) if held is not None else 0
        async for chunk in super().output(receipt, str(max(now, int(cursor or 0)))):
            yield chunk


class MixesStreams(MemoryExecutor):
    """All output is told as standard output, though the streams are claimed to be told apart.

    test_output_comes_in_order_and_by_stream
    test_output_resumed_by_its_cursor_loses_and_doubles_nothing
    """

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        async for chunk in super().output(receipt, cursor):
            yield attrs.evolve(chunk, stream="stdout")


class OutputNeverEnds(MemoryExecutor):
    """Reading waits for more when the run has ended.

    test_a_fork_bomb_stops_at_its_limit
    test_last_words_are_read_after_the_end_by_the_next_core
    test_open_files_are_limited
    test_output_comes_in_order_and_by_stream
    test_output_resumed_by_its_cursor_loses_and_doubles_nothing
    """

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        async for chunk in super().output(receipt, cursor):
            yield chunk
        await trio.sleep_forever()


class DiesWithItsCore(MemoryExecutor):
    """A life beyond the core is claimed, and all ends with serve().

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    """

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await super().serve(task_status=task_status)
        finally:
            for process in [*self.backend.machine.processes.values()]:
                process.signal(KILL)


class KnowsOnlyWhatItStarted(MemoryExecutor):
    """The next core's instance watches, stops and reads only what it has started itself.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    test_last_words_are_read_after_the_end_by_the_next_core
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.mine: set[RunId] = set()

    async def start(self, job: Job) -> Receipt:
        self.mine.add(job.run)
        return await super().start(job)

    def held(self, receipt: Receipt) -> Held | None:
        return super().held(receipt) if receipt.run in self.mine else None


class EveryCoreStartsAnew(MemoryExecutor):
    """The next core's start of a run that is there starts a second process.

    test_a_run_outlives_the_core_and_is_adopted_by_the_next
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.mine: set[RunId] = set()

    async def start(self, job: Job) -> Receipt:
        there = self.backend.runs.get(job.run)
        if there is not None and job.run not in self.mine:
            self.backend.spawn(there)
        self.mine.add(job.run)
        return await super().start(job)


class OutputIsTheCores(MemoryExecutor):
    """Output goes to the core that started the run: the next one reads nothing.

    test_last_words_are_read_after_the_end_by_the_next_core
    """

    def __init__(self, backend: Backend) -> None:
        super().__init__(backend)
        self.mine: set[RunId] = set()

    async def start(self, job: Job) -> Receipt:
        self.mine.add(job.run)
        return await super().start(job)

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        if receipt.run in self.mine:
            async for chunk in super().output(receipt, cursor):
                yield chunk
