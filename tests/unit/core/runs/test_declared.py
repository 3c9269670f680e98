"""Work that a process has declared in an answer: how long it keeps the process."""

from __future__ import annotations

import attrs
import pytest
import trio

from supervisor.core.runs.declared import BUSY_LIMIT, Work
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.keeper import Keeper
from supervisor.lifecycle import State
from supervisor.model import DeploymentId, Overrides
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, a_deployment, keeping

NOW = 1000.0  # of the system's monotonic clock


def hear(work: Work, word: str, moment: float = NOW) -> tuple[bool, str]:
    return work.hear(word, moment, lambda: NOW)


@pytest.mark.parametrize(
    ("word", "seconds"),
    [("10m", 600.0), ("1m30s", 90.0), ("90", 90.0), ("500ms", 0.5), ("0", 0.0), ("0s", 0.0),
     ("1h", BUSY_LIMIT), ("5h", BUSY_LIMIT), ("9" * 16, BUSY_LIMIT)],
)  # fmt: skip
async def test_work_goes_on_for_as_long_as_was_said_and_an_hour_at_most(
    word: str, seconds: float, autojump_clock: object
) -> None:
    work = Work()
    assert not work.goes_on(None)
    assert (True, "") == hear(work, word)
    if seconds:
        await trio.sleep(seconds - 0.1)
        assert work.goes_on(None)
        await trio.sleep(0.2)
    assert not work.goes_on(None)


async def test_what_was_said_a_while_ago_counts_from_then(autojump_clock: object) -> None:
    work = Work()
    hear(work, "10m", NOW - 590)
    assert work.goes_on(None)
    await trio.sleep(11)
    assert not work.goes_on(None)


async def test_the_last_word_counts_and_is_news_once() -> None:
    work = Work()
    assert (True, "") == hear(work, "10m", NOW - 2)
    assert (False, "") == hear(work, "10m", NOW - 2)  # told again, by any gateway
    assert (False, "") == hear(work, "0", NOW - 3)  # an earlier one that comes late
    assert work.goes_on(None)
    assert (True, "") == hear(work, "0", NOW - 1)
    assert not work.goes_on(None)
    assert ("0", NOW - 1) == work.said


async def test_no_moment_to_come_and_no_nonsense_is_believed() -> None:
    work = Work()
    assert (True, "") == hear(work, "10m", float("inf"))
    assert ("10m", NOW) == work.said
    assert (False, "") == hear(work, "1h", float("nan"))


@pytest.mark.parametrize("word", ["", "soon", "-5", "1.5", "10 x", "1h30", "²", "nan", "inf"])
async def test_a_bad_word_changes_nothing_and_is_named_once(word: str) -> None:
    work = Work()
    hear(work, "10m", NOW - 1)
    news, trouble = hear(work, word)
    assert not news
    assert trouble.startswith("Supervisor-Busy of an answer is ignored: ")
    assert repr(word) in trouble
    assert (False, "") == hear(work, word)
    assert work.goes_on(None)


async def idle(house: House, keeper: Keeper) -> Worker:
    """Give a process that has answered a request and has nobody."""
    house.executor.behaves = Behaviour(listens=1)
    worker = (await keeper.admission.request(None)).worker
    assert worker is not None
    return worker


async def test_a_process_is_kept_while_it_works_and_ends_afterwards(house: House) -> None:
    scaling = Overrides(most=1, idle=100.0)
    async with keeping(house.keeper(a_content(scaling=scaling))) as keeper:
        worker = await idle(house, keeper)
        hear(worker.work, "10m")
        await trio.sleep(599)
        assert State.READY is worker.state
        await trio.sleep(101 + 10)
        assert State.EXITED is worker.tracked.run.state


async def test_a_process_that_takes_its_word_back_ends_as_any_other(house: House) -> None:
    scaling = Overrides(most=1, idle=100.0)
    async with keeping(house.keeper(a_content(scaling=scaling))) as keeper:
        worker = await idle(house, keeper)
        hear(worker.work, "1h", NOW - 1)
        await trio.sleep(300)
        hear(worker.work, "0")
        await trio.sleep(110)
        assert State.EXITED is worker.tracked.run.state


@pytest.mark.parametrize(("drain", "lasts"), [(3000.0, 600.0), (60.0, 60.0)])
async def test_after_a_redeployment_it_works_on_until_drain_timeout_at_most(
    house: House, drain: float, lasts: float
) -> None:
    async with keeping(house.keeper(a_content(scaling=Overrides(drain=drain)))) as keeper:
        old = await idle(house, keeper)
        hear(old.work, "10m")
        newer = attrs.evolve(a_deployment(), id=DeploymentId(2))
        await keeper.try_out(keeper.content, newer)
        keeper.activate(keeper.content, newer)
        await trio.sleep(lasts - 5)
        assert State.DRAINING is old.state
        await trio.sleep(15)
        assert State.EXITED is old.tracked.run.state
