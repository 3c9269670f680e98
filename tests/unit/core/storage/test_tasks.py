"""Long operations that clients poll."""

from __future__ import annotations

import pytest
import trio

from supervisor.core.storage.tasks import MOST_FINISHED, MOST_LINES, LiveTask, Tasks
from supervisor.errors import SupervisorError
from supervisor.model import BundleId, ContentId
from supervisor.testing.house import House
from supervisor.testing.journal import MemoryJournal


async def opened(tasks: Tasks) -> LiveTask:
    return await tasks.open(ContentId(1), BundleId(2))


async def test_a_task_is_durable_when_it_is_given(house: House) -> None:
    house.journal.facts_wait = True
    task = await opened(Tasks(journal=house.journal))
    assert task.record == house.journal.store.get("task", task.record.id)


async def test_lines_are_given_from_where_the_client_stands(house: House) -> None:
    tasks = Tasks(journal=house.journal)
    task = await opened(tasks)
    task.say("one", "two")
    assert ("two",) == (await tasks.get(task.record.id, first=1, wait=0)).output


async def test_a_client_waits_for_news_and_no_longer(house: House) -> None:
    tasks = Tasks(journal=house.journal)
    task = await opened(tasks)
    began = trio.current_time()

    async def speak() -> None:
        await trio.sleep(5)
        task.say("news")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak)
        seen = await tasks.get(task.record.id, first=0, wait=30)
    assert ("news",) == seen.output
    assert 5.0 == pytest.approx(trio.current_time() - began)
    assert () == (await tasks.get(task.record.id, first=1, wait=30)).output
    assert 35.0 == pytest.approx(trio.current_time() - began)


async def test_the_end_is_news_too(house: House) -> None:
    tasks = Tasks(journal=house.journal)
    task = await opened(tasks)

    async def fail() -> None:
        await trio.sleep(5)
        task.fail(SupervisorError("no-app-found", "nothing here"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        seen = await tasks.get(task.record.id, first=0, wait=1000)
    assert (True, 1, "nothing here (Error code: no-app-found)") == (
        seen.finished,
        seen.code,
        seen.error,
    )


async def test_a_task_of_an_earlier_core_comes_from_the_store(house: House) -> None:
    task = await opened(Tasks(journal=house.journal))
    task.say("one", "two")
    task.succeed("http://s/")
    seen = await Tasks(journal=house.journal).get(task.record.id, first=1, wait=1000)
    assert (("two",), "http://s/") == (seen.output, seen.result)


async def test_an_unknown_task_is_not_found(house: House) -> None:
    with pytest.raises(SupervisorError, match="no task") as caught:
        await Tasks(journal=house.journal).get("nonsense", first=0, wait=0)
    assert "not-found" == caught.value.code


async def test_a_task_keeps_a_bounded_number_of_lines() -> None:
    task = await opened(Tasks(journal=MemoryJournal()))
    task.say(*(["x"] * (MOST_LINES - 1)))
    task.say("last", "too many")
    assert (MOST_LINES, "last") == (len(task.record.output), task.record.output[-1])


async def test_finished_tasks_do_not_stay_in_memory_for_ever() -> None:
    tasks = Tasks(journal=MemoryJournal())
    unfinished = await opened(tasks)
    for _ in range(2 * MOST_FINISHED):
        (await opened(tasks)).succeed("")
    assert MOST_FINISHED + 2 >= len(tasks._live)
    assert unfinished.record.id in tasks._live
