"""A log that is read in parts loses and doubles nothing, however its times lie."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any, cast

import attrs
import trio
from hypothesis import given
from hypothesis import strategies as some
from supervisor_executor_kubernetes.client import Client
from supervisor_executor_kubernetes.errors import ApiError
from supervisor_executor_kubernetes.output import AGAIN, follow
from supervisor_executor_kubernetes.views import View
from trio.testing import MockClock

from supervisor import OutputChunk, new_run_id

ENDED: dict[str, Any] = {
    "metadata": {"namespace": "content", "name": "pod"},
    "status": {"containerStatuses": [{"name": "content", "state": {"terminated": {}}}]},
}


@attrs.define
class Stored:
    """A log as a node keeps it, and the client that reads it. lines: times and texts.

    broken_after: how many pieces the next answers give before they break off. slow_after: how many
    the following of a log gives, and nothing from then on.
    """

    lines: list[tuple[str, bytes]]
    piece: int = 1 << 20
    broken_after: list[int] = attrs.field(factory=list)
    slow_after: int | None = None

    @asynccontextmanager
    async def log(self, *_: str, since: str, follow: bool) -> AsyncIterator[AsyncIterator[bytes]]:
        """Answer as Client.log does."""
        yield self._pieces(since[:19], self.slow_after if follow else None)

    async def _pieces(self, since: str, slow_after: int | None) -> AsyncIterator[bytes]:
        most = self.broken_after.pop(0) if self.broken_after else 1 << 62
        for time, text in self.lines:
            if time[:19] < since:
                continue
            line = time.encode() + b" " + text
            stamp = len(time) + 1
            cuts = [0, *range(stamp + self.piece, len(line), self.piece), len(line)]
            for start, stop in pairwise(cuts):
                if slow_after == 0:
                    await trio.sleep_forever()
                slow_after = None if slow_after is None else slow_after - 1
                if most == 0:
                    raise ApiError("get pods/log", "it broke off")
                most -= 1
                yield line[start:stop]


async def read(stored: Stored, cursor: str, chunks: int | None = None) -> tuple[bytes, str]:
    """Read so many chunks from a cursor on, or all; give them and the new cursor."""
    view = View(run=new_run_id(), secret="", pod=ENDED)
    send, receive = trio.open_memory_channel[OutputChunk](0)
    scope, seen = trio.CancelScope(), b""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow, cast(Client, stored), view, cursor, send, scope)
        async with receive:
            async for chunk in receive:
                seen, cursor = seen + chunk.data, chunk.cursor
                chunks = None if chunks is None else chunks - 1
                if chunks == 0:
                    break
        scope.cancel()
    return seen, cursor


def stamp(moment: int) -> str:
    """Write a time, in units of 100 ms after some minute, as the server does."""
    seconds, tenths = divmod(moment, 10)
    return f"2026-01-01T00:01:{seconds:02}{f'.{tenths}' if tenths else ''}Z"


def log(moments: Sequence[int], *, piece: int = 1 << 20) -> Stored:
    """Make a log with a line for each moment."""
    lines = [(stamp(each), f"line {index}\n".encode()) for index, each in enumerate(moments)]
    return Stored(lines, piece)


def whole(stored: Stored) -> bytes:
    return b"".join(text for _, text in stored.lines)


@given(
    late=some.lists(some.integers(0, 9), min_size=1, max_size=30),
    steps=some.lists(some.integers(0, 15), min_size=30, max_size=30),
    cuts=some.lists(some.integers(1, 5), max_size=8),
    piece=some.integers(1, 8),
)
def test_parts_are_the_whole_though_times_go_back_by_less_than_a_second(
    late: list[int], steps: list[int], cuts: list[int], piece: int
) -> None:
    moments, newest = [], 10
    for step, back in zip(steps, late, strict=False):
        newest += step
        moments.append(newest - back)
    stored = log(moments, piece=piece)

    async def in_parts() -> bytes:
        seen, cursor = b"", ""
        for cut in (*cuts, None):
            part, cursor = await read(stored, cursor, cut)
            seen += part
        return seen

    assert whole(stored) == trio.run(in_parts)


async def test_a_log_that_grows_is_read_on_where_reading_ended() -> None:
    stored = log([10, 12, 11])
    seen, cursor = await read(stored, "")
    stored.lines += log([10, 12, 11, 19, 18, 31]).lines[3:]
    more, _ = await read(stored, cursor)
    assert whole(stored) == seen + more


async def test_after_a_rotation_only_newer_lines_are_given() -> None:
    stored = log([10, 12, 14, 16])
    _, cursor = await read(stored, "")
    stored.lines = [*stored.lines[2:], *log([17, 18]).lines]
    more, cursor = await read(stored, cursor)
    assert b"line 0\nline 1\n" == more
    assert b"" == (await read(stored, cursor))[0]


async def test_what_a_busy_node_had_not_sent_when_the_container_was_gone_is_read_all_the_same(
    autojump_clock: MockClock,
) -> None:
    stored = log([10, 11, 12, 13])
    stored.slow_after = 2
    seen, _ = await read(stored, "")
    assert whole(stored) == seen


async def test_an_answer_that_breaks_off_before_its_news_is_read_again_from_the_same_place(
    autojump_clock: MockClock,
) -> None:
    stored = log([10, 11, 12, 13])
    stored.broken_after = [3, 1, 2]
    began = trio.current_time()
    seen, _ = await read(stored, "")
    assert whole(stored) == seen
    assert 3 * AGAIN == trio.current_time() - began
