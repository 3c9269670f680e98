"""Room for processes that are starting: not all at once, and visitors first."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from supervisor.core.scheduling.starts import Starts

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def entered(starts: Starts, *, asked: bool) -> bool:
    with trio.move_on_after(1) as limit:
        await starts.enter(asked=asked)
    return not limit.cancelled_caught


async def test_no_more_start_at_once_than_there_is_room_for() -> None:
    starts = Starts(most=2)
    assert await entered(starts, asked=True)
    assert await entered(starts, asked=True)
    assert not await entered(starts, asked=True)
    starts.leave(asked=True)
    assert await entered(starts, asked=True)


async def test_half_of_the_room_is_kept_for_visitors() -> None:
    starts = Starts(most=4)
    assert [True, True, False] == [await entered(starts, asked=False) for _ in range(3)]
    assert [True, True, False] == [await entered(starts, asked=True) for _ in range(3)]


async def test_visitors_come_before_those_who_wait_for_longer() -> None:
    starts, order = Starts(most=1), []

    async def start(name: str, asked: bool) -> None:
        await starts.enter(asked=asked)
        order.append(name)
        await trio.sleep(1)
        starts.leave(asked=asked)

    async with trio.open_nursery() as nursery:
        for name, asked in (("first", True), ("kept", False), ("visitor", True)):
            nursery.start_soon(start, name, asked)
            await trio.sleep(0.1)
    assert ["first", "visitor", "kept"] == order


async def test_whoever_is_cancelled_while_waiting_takes_no_room() -> None:
    starts = Starts(most=1)
    await starts.enter(asked=True)
    assert not await entered(starts, asked=True)
    starts.leave(asked=True)
    assert await entered(starts, asked=True)
    assert not await entered(starts, asked=False)


async def test_what_an_earlier_core_has_begun_to_start_counts() -> None:
    starts = Starts(most=1)
    starts.adopt()
    assert not await entered(starts, asked=True)
    starts.leave(asked=True)
    assert await entered(starts, asked=True)


async def test_more_room_lets_those_in_who_wait() -> None:
    starts = Starts(most=1)
    await starts.enter(asked=True)
    async with trio.open_nursery() as nursery:
        with trio.fail_after(1):
            nursery.start_soon(lambda: starts.enter(asked=True))
            await trio.testing.wait_all_tasks_blocked()
            starts.allow(2)
    assert not await entered(starts, asked=True)
