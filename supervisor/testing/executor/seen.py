"""Watch and read a run to a point, as a core does. Each fails where the executor ends too early."""

from __future__ import annotations

from contextlib import aclosing
from itertools import zip_longest

from supervisor.interfaces import Executor
from supervisor.model import Exit, Observation, Pending, Receipt, Running


async def until_running(executor: Executor, receipt: Receipt) -> Running:
    """Watch until a run is running."""
    async with aclosing(executor.watch(receipt)) as observations:
        async for seen in observations:
            if isinstance(seen, Running):
                return seen
            assert isinstance(seen, Pending), f"before it ran, watch gave {seen!r}"
    raise AssertionError("watch ended before it ran")


async def until_exit(executor: Executor, receipt: Receipt) -> Exit:
    """Watch a run to its end, and the generator to its own: the executor may forget it then."""
    seen: Observation | None = None
    async with aclosing(executor.watch(receipt)) as observations:
        async for news in observations:
            seen = news
    assert isinstance(seen, Exit), f"watch ended with {seen!r}"
    return seen


async def first_exit(executor: Executor, receipt: Receipt) -> Exit:
    """Watch a run to its end and leave the generator there: it is not to be forgotten yet."""
    async with aclosing(executor.watch(receipt)) as observations:
        async for seen in observations:
            if isinstance(seen, Exit):
                return seen
    raise AssertionError("watch ended without an exit")


async def read(
    executor: Executor, receipt: Receipt, cursor: str = "", most: int | None = None
) -> tuple[dict[str, bytes], str]:
    """Read output to its end, or `most` chunks; give it by stream, and the cursor after it."""
    seen, count = {"stdout": b"", "stderr": b""}, 0
    async with aclosing(executor.output(receipt, cursor)) as chunks:
        async for chunk in chunks:
            seen[chunk.stream] += chunk.data
            cursor, count = chunk.cursor, count + 1
            if count == most:
                break
    return seen, cursor


def by_stream(executor: Executor, seen: dict[str, bytes]) -> dict[str, bytes]:
    """Tell apart what programs.PRINTS wrote, for an executor that cannot."""
    if executor.capabilities.streams:
        return seen
    assert b"" == seen["stderr"]
    apart = {"stdout": b"", "stderr": b""}
    for line in seen["stdout"].splitlines(keepends=True):
        apart["stderr" if line.startswith(b"to stderr: ") else "stdout"] += line
    return apart


def first_difference(expected: dict[str, bytes], seen: dict[str, bytes]) -> str:
    """Say where two outputs begin to differ, "" where they do not.

    A comparison of all their bytes, as pytest makes of a failed `==` in CI, takes many minutes.
    """
    for stream in sorted(expected.keys() | seen.keys()):
        right = expected.get(stream, b"").splitlines(keepends=True)
        found = seen.get(stream, b"").splitlines(keepends=True)
        for number, (one, other) in enumerate(zip_longest(right, found), 1):
            if one != other:
                return f"line {number} of {stream} is {other!r}, not {one!r}"
    return ""
