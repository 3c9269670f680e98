"""The wall clock is set back and forth: what is timed goes by the other one."""

from __future__ import annotations

import time

import pytest
import trio

from supervisor.testing.house import House
from tests.unit.core.scheduling.test_admission import app, enter, leave

pytestmark = pytest.mark.usefixtures("autojump_clock")
YEAR = 365 * 86400.0


@pytest.mark.parametrize("jump", [YEAR, -YEAR, -time.time()], ids=["on", "back", "to 1970"])
async def test_a_jump_of_the_clock_ends_and_starts_nothing(
    house: House, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    async with app(house, least=1, most=2, idle=60.0) as keeper:
        await trio.sleep(5)
        [before] = keeper.workers
        await enter(keeper, "visitor")
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        was = house.clock()
        house.clock = lambda: was + jump
        await trio.sleep(300)
        assert [before] == [*keeper.workers]
        worker = await enter(keeper, "another")
        assert before is worker
        for visitor in ("visitor", "another"):
            leave(keeper, visitor)
        await trio.sleep(300)
        assert 1 == house.executor.count("start")
