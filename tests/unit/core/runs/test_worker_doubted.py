"""A gateway could not connect to a worker: it is looked at, and ended where it listens no more."""

from __future__ import annotations

import os
from pathlib import Path

import attrs
import trio

from supervisor.core.runs.guarded import Guarded
from supervisor.core.runs.worker import Worker
from supervisor.lifecycle import State
from supervisor.model import UnixEndpoint
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_job, a_run


def socket_of(worker: Worker) -> Path:
    assert isinstance(worker.endpoint, UnixEndpoint)
    return Path(worker.endpoint.directory, worker.endpoint.name)


async def live(worker: Worker) -> None:
    with trio.fail_after(1000):
        await worker.live(a_job(worker.tracked.run))


async def test_a_worker_that_listens_no_more_gets_no_visitor_and_fails_with_the_reason(
    house: House,
) -> None:
    house.executor.behaves = Behaviour()
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        assert worker.load().ready
        socket_of(worker).unlink()
        worker.doubt()
        assert not worker.load().ready
    assert worker.state is State.FAILED
    assert "does not accept connections any more" in worker.tracked.run.reason
    assert worker.error is not None
    assert worker.error.code == "start-failed"


async def test_a_worker_whose_socket_was_swapped_fails_with_that_code(house: House) -> None:
    house.executor.behaves = Behaviour()
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        path = socket_of(worker)
        path.unlink()
        os.symlink("/run/somebody-else.sock", path)
        worker.doubt()
    assert worker.state is State.FAILED
    assert worker.error is not None
    assert worker.error.code == "socket-swapped"


async def test_a_worker_that_was_doubted_for_nothing_serves_on(house: House) -> None:
    house.executor.behaves = Behaviour()
    worker = house.worker()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        worker.doubt()
        await trio.sleep(5)
        assert worker.state is State.READY
        assert worker.load().ready
        worker.stop("enough")


async def test_a_worker_that_moves_is_looked_at_and_told_where_it_is(house: House) -> None:
    house.executor.behaves = Behaviour()
    worker = house.worker()
    told: list[object] = []
    worker.changed = lambda worker: told.append(worker.endpoint)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, worker)
        await worker.ready.wait()
        (run,) = house.executor.living
        run.directory += "-elsewhere"
        os.mkdir(run.directory)
        run.listen()
        run.tell()
        await trio.sleep(0.1)
        assert socket_of(worker).parent == Path(run.directory)
        assert worker.endpoint == told[-1]
        assert worker.load().ready
        run.directory += "-and-away"
        run.tell()
    assert worker.state is State.FAILED
    assert "does not accept connections any more" in worker.tracked.run.reason


async def test_an_adopted_worker_gets_no_visitor_before_its_executor_says_where_it_is(
    house: House,
) -> None:
    run = a_run(state=State.READY)
    run = attrs.evolve(run, receipt=await house.executor.start(a_job(run)))
    away = "it is away"
    worker = house.worker(run, executor=Guarded(house.executor, lambda: away))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(worker.live, None)
        await trio.sleep(3)
        assert not worker.takes_visitors
        assert worker.state is State.READY
        away = ""
        with trio.fail_after(2):
            await worker.ready.wait()
        assert worker.takes_visitors
        nursery.cancel_scope.cancel()
