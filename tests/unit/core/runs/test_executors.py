"""Executors that are there, away, late and back: what others see of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from supervisor.core.runs.executors import Executors, default_of
from supervisor.core.runs.guarded import Guarded
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.log import Log
from supervisor.model import Exit, Observation, Pending, Running
from supervisor.testing.executors import Behaviour, ScriptedExecutor
from supervisor.testing.house import House, a_job, a_run


class Fickle(ScriptedExecutor):
    """Its task ends whenever `leave` is set, and begins again where `back` is."""

    name = "fickle"

    def __init__(self, directory: str, *, there: bool = True) -> None:
        super().__init__(directory)
        self.served = 0
        self.leave = trio.Event()
        self.back = trio.Event()
        if there:
            self.back.set()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        await self.back.wait()
        self.served += 1
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            await self.leave.wait()
            self.leave = trio.Event()
            raise SupervisorError("unavailable", "nobody answers at 10.0.0.1")

    def go(self) -> None:
        self.back = trio.Event()
        self.leave.set()


@asynccontextmanager
async def served(*executors: Executor) -> AsyncIterator[Executors]:
    log = Log("core", fd=os.open(os.devnull, os.O_WRONLY))
    made = Executors(installed={executor.name: executor for executor in executors}, log=log)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.serve)
        yield made
        nursery.cancel_scope.cancel()


async def test_one_that_never_starts_is_gone_on_without(house: House) -> None:
    late, there = Fickle(house.paths, there=False), ScriptedExecutor(house.paths)
    before = trio.current_time()
    async with served(late, there) as executors:
        assert 10.0 == trio.current_time() - before
        assert "it has not answered since the core was started" in executors.away("fickle")
        assert "" == executors.away("scripted")
        (finding,) = executors.findings()
        assert ("executor fickle", False) == (finding.name, finding.ok)
        with pytest.raises(SupervisorError) as caught:
            await executors.by_name["fickle"].list()
        assert ("executor-away", True) == (caught.value.code, caught.value.recoverable)
        assert [] == await executors.by_name["scripted"].list()
        late.back.set()
        await executors.wait_for(late)
        assert [] == await executors.by_name["fickle"].list()
        assert [] == executors.findings()


async def test_all_are_there_at_once_where_they_can(house: House) -> None:
    before = trio.current_time()
    async with served(Fickle(house.paths), ScriptedExecutor(house.paths)):
        assert before == trio.current_time()


async def test_one_that_fails_is_not_waited_for(house: House) -> None:
    executor = Fickle(house.paths)
    executor.leave.set()
    before = trio.current_time()
    async with served(executor) as executors:
        assert before == trio.current_time()
        await trio.sleep(1.0)
        assert "" == executors.away("fickle")


async def test_one_that_ends_is_served_again_and_says_why_meanwhile(house: House) -> None:
    executor = Fickle(house.paths)
    returned: list[str] = []

    async def back(executor: Executor) -> None:
        returned.append(executor.name)

    async with served(executor, ScriptedExecutor(house.paths)) as executors:
        executors.returned = back
        executor.go()
        await trio.sleep(0.1)
        assert "the executor 'fickle' is away: nobody answers at 10.0.0.1" == executors.away(
            "fickle"
        )
        assert [] == await executors.by_name["scripted"].list()
        executor.back.set()
        await executors.wait_for(executor)
        await trio.lowlevel.checkpoint()
        assert (2, ["fickle"]) == (executor.served, returned)
        assert "" == executors.away("fickle")


async def test_a_start_waits_for_one_that_is_away_for_a_moment_only(house: House) -> None:
    executor = Fickle(house.paths)
    async with served(executor) as executors:
        executor.go()
        await trio.sleep(0.1)
        before = trio.current_time()
        with pytest.raises(SupervisorError, match="nobody answers") as caught:
            await executors.wait_for(executor)
        assert ("executor-away", True) == (caught.value.code, caught.value.recoverable)
        assert 5.0 == trio.current_time() - before


async def test_open_calls_end_with_the_executor(house: House) -> None:
    executor = Fickle(house.paths)
    executor.behaves = Behaviour(start=1000.0)
    async with served(executor) as executors:
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                with pytest.raises(SupervisorError) as caught:
                    await executors.by_name["fickle"].start(a_job(a_run()))
                assert "executor-away" == caught.value.code

            nursery.start_soon(start)
            await trio.sleep(1.0)
            executor.go()
        assert trio.current_time() < 900.0


async def test_a_watch_ends_with_the_executor_and_goes_on_when_it_is_back(house: House) -> None:
    backend = house.executor
    away = ""
    guarded = Guarded(backend, lambda: away)
    receipt = await guarded.start(a_job(a_run()))
    seen: list[Observation] = []

    async def watch() -> None:
        async for news in guarded.watch(receipt):
            seen.append(news)

    async with trio.open_nursery() as nursery:

        async def interrupted() -> None:
            with pytest.raises(SupervisorError) as caught:
                await watch()
            assert "executor-away" == caught.value.code

        nursery.start_soon(interrupted)
        await trio.sleep(1.0)
        away = "it is away"
        guarded.interrupt()
    away = ""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.sleep(1.0)
        await guarded.stop(receipt, 1.0)
    kinds = [type(news) for news in seen if not isinstance(news, Pending)]
    assert [Running, Running, Exit] == kinds


async def test_who_calls_may_be_cancelled_as_ever(house: House) -> None:
    guarded = Guarded(house.executor, lambda: "")
    receipt = await guarded.start(a_job(a_run()))
    with trio.move_on_after(1.0) as scope:
        async for _ in guarded.watch(receipt):
            pass
    assert scope.cancelled_caught


def test_the_default_executor_must_be_installed_and_serve() -> None:
    executor = ScriptedExecutor("/nonexistent")
    assert default_of("", {}) is None
    assert "scripted" == default_of("scripted", {"scripted": executor})
    with pytest.raises(SupervisorError, match="is not installed") as caught:
        default_of("another", {"scripted": executor})
    assert "no-executor" == caught.value.code
    assert "scripted" in caught.value.hint
    executor.capabilities = type(executor.capabilities)(
        lifetime=executor.capabilities.lifetime, purposes=frozenset()
    )
    with pytest.raises(SupervisorError, match="cannot run applications"):
        default_of("scripted", {"scripted": executor})
