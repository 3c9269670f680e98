"""What a run wrote is read on from where it was read to: after a broken link, by the next core."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import pytest
import trio

from supervisor.core.runs.calls import read_output
from supervisor.core.runs.output import Output, read_cursor
from supervisor.errors import SupervisorError
from supervisor.interfaces import OutputChunk
from supervisor.model import Receipt
from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.house import House, at_once

LINES = [f"line {number}" for number in range(6)]


class Numbered(ScriptedExecutor):
    """Gives one line a chunk, its number as the cursor; the link breaks before some of them."""

    def __init__(self, *breaks: int, recoverable: bool = True) -> None:
        super().__init__("/nonexistent")
        self.breaks = list(breaks)
        self.recoverable = recoverable
        self.asked: list[str] = []

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        self.asked.append(cursor)
        for number in range(int(cursor or 0), len(LINES)):
            if number in self.breaks:
                self.breaks.remove(number)
                raise SupervisorError("unavailable", "it broke", recoverable=self.recoverable)
            yield OutputChunk(
                stream="stdout", data=f"{LINES[number]}\n".encode(), cursor=str(number + 1)
            )


def log(house: House) -> Output:
    return Output(run="r", path=f"{house.paths}/r/log", in_thread=at_once)


def lines(output: Output) -> list[str]:
    return [line.text for line in output.tail if line.stream == "stdout"]


async def read(executor: ScriptedExecutor, output: Output) -> None:
    receipt = Receipt(run="r", executor="scripted")  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.keep)
        await read_output(executor, receipt, output)
        nursery.cancel_scope.cancel()


async def test_a_broken_link_loses_and_doubles_nothing_and_is_said_once(house: House) -> None:
    output = log(house)
    executor = Numbered(2, 2, 5)
    await read(executor, output)
    assert LINES == lines(output)
    assert ["", "2", "2", "5"] == executor.asked
    said = [line.text for line in output.tail if line.stream == "supervisor"]
    assert ["[supervisor] its output cannot be read: it broke"] * 2 == said


async def test_what_will_not_mend_is_not_asked_again(house: House) -> None:
    executor = Numbered(2, recoverable=False)
    output = log(house)
    await read(executor, output)
    assert (LINES[:2], [""]) == (lines(output), executor.asked)


@pytest.mark.parametrize("least", [1, 4])
async def test_the_next_core_reads_on_where_the_file_ends(house: House, least: int) -> None:
    first = log(house)
    await read(Numbered(least, recoverable=False), first)
    second = log(house)
    second.cursor = read_cursor(second.path)
    executor = Numbered()
    await read(executor, second)
    assert [str(least)] == executor.asked
    assert LINES == lines(first) + lines(second)


async def test_a_run_without_a_file_is_read_from_its_beginning(house: House) -> None:
    assert "" == read_cursor(f"{house.paths}/nobody/log")
