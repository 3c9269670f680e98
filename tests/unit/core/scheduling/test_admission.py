"""Who gets a seat, in which process, and who waits: on a mock clock, with scripted processes."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from supervisor.core.runs.pulse import PULSE
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.admission import LOOK
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.line import GLIMPSES, PATIENCE
from supervisor.core.scheduling.seats import CLOSED, FIRM
from supervisor.core.scheduling.verdict import Answer, Verdict
from supervisor.lifecycle import State
from supervisor.model import Cause, Exit, Overrides, Ready, RunId, UnixEndpoint
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, a_deployment, keeping

pytestmark = pytest.mark.usefixtures("autojump_clock")

COMPUTES = Ready(path="/")  # a scripted process never answers a request


@asynccontextmanager
async def app(house: House, **overrides: object) -> AsyncIterator[Keeper]:
    """A content with processes that are ready after a second."""
    house.executor.behaves = Behaviour(listens=1)
    scaling = Overrides(**overrides)  # type: ignore[arg-type]
    async with keeping(house.keeper(a_content(scaling=scaling))) as keeper:
        yield keeper


async def enter(keeper: Keeper, visitor: str) -> Worker:
    """Come as a browser does: load the page, wait for one's turn, open the session."""
    answer = await keeper.admission.page(visitor, None)
    while answer.worker is None:
        assert answer.verdict in (Verdict.STARTING, Verdict.QUEUED)
        answer = await keeper.admission.wait(visitor)
        if answer.worker is not None:
            answer = await keeper.admission.page(visitor, None)
    return await open_socket(keeper, visitor, answer.worker.id)


async def open_socket(keeper: Keeper, visitor: str, pinned: RunId | None) -> Worker:
    answer = await keeper.admission.socket(f"s-{visitor}", visitor, pinned)
    assert answer.worker is not None
    return answer.worker


def leave(keeper: Keeper, visitor: str, keep: float = CLOSED) -> None:
    keeper.admission.left(f"s-{visitor}", keep)


def held(keeper: Keeper) -> list[int]:
    return sorted(keeper.seats.held(worker.id) for worker in keeper.workers)


# -- where to -----------------------------------------------------------------------------------


async def test_six_visitors_fill_three_processes_and_the_seventh_enters_when_one_leaves(
    house: House,
) -> None:
    async with app(house, sessions_each=2, most=3) as keeper:
        for number in range(6):
            with trio.fail_after(10):
                await enter(keeper, f"v{number}")
        assert [2, 2, 2] == held(keeper)

        answer = await keeper.admission.page("v6", None)
        assert (Verdict.QUEUED, 1) == (answer.verdict, answer.position)
        async with trio.open_nursery() as nursery:
            entered = trio.Event()

            async def wait() -> None:
                await enter(keeper, "v6")
                entered.set()

            nursery.start_soon(wait)
            await trio.sleep(60)
            assert not entered.is_set()
            leave(keeper, "v0")
            await trio.sleep(CLOSED + 0.1)
            assert entered.is_set()
        assert [2, 2, 2] == held(keeper)


async def test_two_hundred_at_once_never_take_more_than_sixty_seats_and_all_get_one_in_the_end(
    house: House,
) -> None:
    most = 0
    served: list[str] = []

    async def come_and_go(keeper: Keeper, visitor: str) -> None:
        nonlocal most
        await enter(keeper, visitor)
        most = max(most, sum(held(keeper)))
        served.append(visitor)
        await trio.sleep(30)
        leave(keeper, visitor)

    async with app(house, sessions_each=20, most=3) as keeper:
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(come_and_go, keeper, f"v{number}")
        assert 3 == len(keeper.workers)
        await trio.sleep(CLOSED + 1)
        assert [0, 0, 0] == held(keeper)
    assert 60 == most
    assert 200 == len(set(served))


async def test_sockets_without_a_page_are_served_up_to_the_last_seat_and_then_refused(
    house: House,
) -> None:
    verdicts: list[Verdict] = []

    async def ask(keeper: Keeper, number: int) -> None:
        answer = await keeper.admission.socket(f"s{number}", f"v{number}", None)
        verdicts.append(answer.verdict)

    async with app(house, sessions_each=20, most=3) as keeper:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(ask, keeper, number)
        assert [20, 20, 20] == held(keeper)
    assert 60 == verdicts.count(Verdict.WORKER)
    assert 140 == verdicts.count(Verdict.FULL)


async def test_a_session_goes_to_the_process_with_the_fewest(house: House) -> None:
    async with app(house, least=3, most=3) as keeper:
        await trio.sleep(5)
        for number in range(7):
            await enter(keeper, f"v{number}")
        assert [2, 2, 3] == held(keeper)


async def test_a_socket_goes_where_its_page_came_from(house: House) -> None:
    async with app(house, least=2, most=2) as keeper:
        await trio.sleep(5)
        page = await keeper.admission.page("a", None)
        assert page.worker is not None
        other = next(worker for worker in keeper.workers if worker is not page.worker)
        assert page.worker is await open_socket(keeper, "a", page.worker.id)
        assert page.worker is not await enter(keeper, "b")
        # another tab of the same page belongs there as well, though more are there
        answer = await keeper.admission.socket("tab", "a", page.worker.id)
        assert page.worker is answer.worker
        assert 1 == keeper.seats.held(other.id)


async def test_sessions_beyond_the_load_factor_start_another_process_at_once(house: House) -> None:
    async with app(house, sessions_each=4, most=3, load_factor=0.5) as keeper:
        await enter(keeper, "a")
        await trio.sleep(5)
        assert 1 == len(keeper.workers)
        await enter(keeper, "b")
        await trio.sleep(2)
        assert 2 == len(keeper.workers)


# -- reservations -------------------------------------------------------------------------------


async def test_a_hundred_page_loads_without_a_socket_lock_nobody_out(house: House) -> None:
    async with app(house, sessions_each=20, least=1, most=1) as keeper:
        await trio.sleep(5)
        for number in range(100):
            await keeper.admission.page(f"crawler{number}", None)
            await trio.sleep(0.06)
        begun = trio.current_time()
        await enter(keeper, "visitor")
        assert trio.current_time() - begun <= FIRM + 0.5


async def test_a_page_that_was_told_to_wait_is_let_in_when_it_is_loaded_again(
    house: House,
) -> None:
    async with app(house, most=1) as keeper:
        for number in range(20):  # in whatever order page and task come to run
            await keeper.admission.page(f"v{number}", None)
        await trio.sleep(2)
        for number in range(20):
            again = await keeper.admission.page(f"v{number}", None)
            assert Verdict.WORKER is again.verdict


async def test_page_loads_alone_start_no_further_process(house: House) -> None:
    async with app(house, sessions_each=4, most=3) as keeper:
        await enter(keeper, "first")
        for number in range(50):
            await keeper.admission.page(f"crawler{number}", None)
            await trio.sleep(1.1)
        assert 1 == len(keeper.workers)


async def test_a_reserved_seat_is_nobody_elses_for_a_moment(house: House) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        page = await keeper.admission.page("a", None)
        assert page.worker is not None
        begun = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.admission.socket, "s-b", "b", None)
            await trio.sleep(FIRM / 2)
            assert page.worker is await open_socket(keeper, "a", page.worker.id)
        assert 1 == sum(held(keeper))
        assert trio.current_time() - begun < FIRM


async def test_a_page_that_never_asks_again_takes_no_turn(house: House) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        await enter(keeper, "a")
        await keeper.admission.page("crawler", None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(enter, keeper, "b")
            await trio.sleep(1)
            leave(keeper, "a", 0.0)
            await trio.sleep(0.1)
            assert 1 == sum(held(keeper))
        await trio.sleep(PATIENCE + 1)
        assert 0 == len(keeper.line)


async def test_a_flood_of_page_loads_does_not_fill_the_line(house: House) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        await enter(keeper, "first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.admission.wait, "waits")
            await trio.sleep(0.1)
            nursery.cancel_scope.deadline = trio.current_time() + 5
            for number in range(GLIMPSES + 50):
                nursery.start_soon(keeper.admission.page, f"crawler{number}", None)
            await trio.sleep(1)
            assert GLIMPSES + 1 == len(keeper.line)
            assert 1 == keeper.line.waiting()


# -- the line -----------------------------------------------------------------------------------


async def test_the_line_is_first_come_first_served_and_tells_positions(house: House) -> None:
    entered: list[str] = []

    async def come(keeper: Keeper, visitor: str) -> None:
        await enter(keeper, visitor)
        entered.append(visitor)

    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        await enter(keeper, "first")
        async with trio.open_nursery() as nursery:
            for visitor in ("a", "b", "c"):
                nursery.start_soon(come, keeper, visitor)
                await trio.sleep(1)
            answer = await keeper.admission.page("d", None)
            assert 4 == answer.position
            for gone in ("first", "a", "b"):
                leave(keeper, gone, 0.0)
                await trio.sleep(1)
    assert ["a", "b", "c"] == entered


async def test_a_waiting_page_is_answered_when_its_position_changes_and_after_a_while_anyway(
    house: House,
) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        await enter(keeper, "first")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.admission.wait, "a")
            await trio.sleep(0.1)
            assert Answer(verdict=Verdict.QUEUED, position=2) == await keeper.admission.wait("b")
            begun = trio.current_time()
            nursery.start_soon(_leave_line, keeper, "a", 3.0)
            answer = await keeper.admission.wait("b")
            assert 1 == answer.position
            assert 3.0 == pytest.approx(trio.current_time() - begun)
            begun = trio.current_time()
            assert 1 == (await keeper.admission.wait("b")).position
            assert LOOK == pytest.approx(trio.current_time() - begun)
            nursery.cancel_scope.cancel()


async def _leave_line(keeper: Keeper, visitor: str, after: float) -> None:
    await trio.sleep(after)
    keeper.line.leave(next(place for place in keeper.line if place.visitor == visitor))
    keeper.admission.wake()


async def test_whoever_asks_without_a_script_keeps_the_place_between_two_reloads(
    house: House,
) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        await enter(keeper, "first")
        for _ in range(4):
            assert 1 == (await keeper.admission.page("reloads", None)).position
            await trio.sleep(3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.admission.wait, "behind")
            await trio.sleep(0.1)
            leave(keeper, "first", 0.0)  # while nobody listens for the first in line
            await trio.sleep(2)
            answer = await keeper.admission.page("reloads", None)
            assert Verdict.WORKER is answer.verdict
            nursery.cancel_scope.cancel()


async def test_who_waits_learns_that_the_app_has_failed_or_was_stopped(house: House) -> None:
    async with app(house, sessions_each=1, least=0, most=1) as keeper:
        house.executor.behaves = Behaviour(lives=1, listens=None)
        assert Verdict.STARTING is (await keeper.admission.page("a", None)).verdict
        with trio.fail_after(10):
            answer = await keeper.admission.wait("a")
        assert Verdict.FAILED is answer.verdict
        assert 0 == len(keeper.line)
        keeper.stop(a_content(stopped=True), "stopped")
        assert Verdict.STOPPED is (await keeper.admission.wait("a")).verdict


async def test_a_socket_is_not_refused_while_the_process_that_is_full_may_be_gone(
    house: House,
) -> None:
    async with app(house, sessions_each=1, most=1) as keeper:
        gone = await enter(keeper, "v1")
        assert isinstance(gone.endpoint, UnixEndpoint)
        await trio.Path(gone.endpoint.directory, gone.endpoint.name).unlink()
        gone.doubt()
        with trio.fail_after(30):
            found = await open_socket(keeper, "v2", gone.id)
        assert found is not gone


async def test_a_socket_whose_visitor_hangs_up_in_line_leaves_nothing(house: House) -> None:
    async with app(house, sessions_each=1, least=0, most=1) as keeper:
        with trio.move_on_after(0.5):
            await keeper.admission.socket("s", "a", None)
        assert (0, 0) == (len(keeper.line), keeper.seats.total())


# -- coming back --------------------------------------------------------------------------------


async def test_a_lost_client_comes_back_to_its_process_though_all_others_wait(
    house: House,
) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        worker = await enter(keeper, "a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.admission.wait, "b")
            await trio.sleep(1)
            leave(keeper, "a", keep=15.0)
            await trio.sleep(14)
            answer = await keeper.admission.socket("again", "a", worker.id)
            assert worker is answer.worker
            assert 1 == sum(held(keeper))
            nursery.cancel_scope.cancel()


async def test_a_lost_clients_seat_is_free_after_the_reconnect_window(house: House) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        await enter(keeper, "a")
        leave(keeper, "a", keep=15.0)
        begun = trio.current_time()
        await enter(keeper, "b")
        assert 15.0 == pytest.approx(trio.current_time() - begun, abs=0.1)


async def test_a_page_that_is_loaded_anew_keeps_its_seat(house: House) -> None:
    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await trio.sleep(5)
        worker = await enter(keeper, "a")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.admission.wait, "b")
            await trio.sleep(1)
            leave(keeper, "a")
            answer = await keeper.admission.page("a", worker.id)
            assert worker is answer.worker
            await trio.sleep(FIRM / 2)
            assert worker is await open_socket(keeper, "a", worker.id)
            nursery.cancel_scope.cancel()


# -- the pulse ----------------------------------------------------------------------------------


async def test_one_that_computes_costs_the_next_visitor_a_cold_start_and_a_look_at_its_pulse(
    house: House,
) -> None:
    async with app(house, sessions_each=20, most=2, load_factor=1.0) as keeper:
        begun = trio.current_time()
        busy = await enter(keeper, "a")
        cold = trio.current_time() - begun
        busy.ready_rule = COMPUTES
        begun = trio.current_time()
        assert busy is not await enter(keeper, "b")
        second = trio.current_time() - begun
        assert cold + PULSE == pytest.approx(second)  # so at most 1.2 times any cold start of 0.3 s


async def test_one_that_computes_gets_a_session_where_nobody_else_may(house: House) -> None:
    async with app(house, sessions_each=20, most=1) as keeper:
        busy = await enter(keeper, "a")
        busy.ready_rule = COMPUTES
        assert busy is await enter(keeper, "b")


async def test_an_idle_process_is_not_asked_for_its_pulse(house: House) -> None:
    async with app(house, most=1) as keeper:
        worker = await enter(keeper, "a")
        leave(keeper, "a", 0.0)
        worker.ready_rule = COMPUTES
        assert worker is await enter(keeper, "b")
        assert not worker.pulse.busy


# -- changes ------------------------------------------------------------------------------------


async def test_a_draining_process_takes_no_new_session_but_keeps_those_that_come_back(
    house: House,
) -> None:
    async with app(house, least=1, most=1) as keeper:
        await trio.sleep(5)
        old = await enter(keeper, "a")
        candidate = await keeper.try_out(keeper.content, a_deployment(2))
        keeper.activate(keeper.content, a_deployment(2))
        assert State.DRAINING is old.state
        assert candidate is await enter(keeper, "b")
        leave(keeper, "a", keep=15.0)
        await trio.sleep(5)
        assert old is await open_socket(keeper, "a", old.id)
        # its visitor's next page belongs to the new deployment
        page = await keeper.admission.page("a", old.id)
        assert candidate is page.worker


async def test_a_rolling_restart_serves_from_the_old_until_the_new_is_ready(house: House) -> None:
    async with app(house, least=1, most=1) as keeper:
        await trio.sleep(5)
        old = await enter(keeper, "a")
        keeper.content = a_content(scaling=keeper.content.scaling, rolled=trio.current_time())
        keeper.roll()
        await trio.sleep(0.5)
        assert old is await enter(keeper, "b")
        await trio.sleep(1)
        [new] = [worker for worker in keeper.workers if worker is not old]
        assert (State.DRAINING, State.READY) == (old.state, new.state)
        assert new is await enter(keeper, "c")
        await trio.sleep(1000)
        assert State.DRAINING is old.state  # its sessions go on
        leave(keeper, "a", 0.0)
        leave(keeper, "b", 0.0)
        await trio.sleep(5)
        assert State.EXITED is old.tracked.run.state


async def test_a_new_generation_that_fails_leaves_the_old_one_serving(house: House) -> None:
    async with app(house, least=1, most=1) as keeper:
        await trio.sleep(5)
        old = await enter(keeper, "a")
        house.executor.behaves = Behaviour(lives=1, listens=None)
        keeper.content = a_content(scaling=keeper.content.scaling, rolled=trio.current_time())
        keeper.roll()
        await trio.sleep(3600)
        assert State.READY is old.state
        assert old is await enter(keeper, "b")
        assert keeper.failure is not None
        assert "gave-up" == keeper.failure.code
        keeper.content = attrs.evolve(keeper.content, scaling=Overrides(least=0, most=1))
        leave(keeper, "a", 0.0)
        leave(keeper, "b", 0.0)
        await trio.sleep(keeper.scaling.idle + 10)
        assert [] == keeper.workers  # like any other that nobody uses


async def test_fewer_processes_at_most_end_those_without_sessions_and_wait_for_the_others(
    house: House,
) -> None:
    async with app(house, sessions_each=20, least=3, most=3) as keeper:
        await trio.sleep(5)
        workers = [await enter(keeper, f"v{number}") for number in range(2)]
        keeper.content = a_content(scaling=Overrides(sessions_each=20, least=0, most=1))
        keeper.rescale()
        await trio.sleep(3000)
        states = sorted(worker.state.value for worker in keeper.workers)
        assert ["draining", "ready"] == states
        assert set(workers) == set(keeper.workers)
        leave(keeper, "v0", 0.0)
        leave(keeper, "v1", 0.0)
        await trio.sleep(10)
        assert 1 == len(keeper.workers)


async def test_a_bounded_drain_ends_sessions_that_stay(house: House) -> None:
    async with app(house, least=1, most=1, drain=600.0) as keeper:
        await trio.sleep(5)
        old = await enter(keeper, "a")
        await keeper.try_out(keeper.content, a_deployment(2))
        keeper.activate(keeper.content, a_deployment(2))
        assert old.ends_at == pytest.approx(trio.current_time() + 600)
        await trio.sleep(590)
        assert State.DRAINING is old.state
        await trio.sleep(20)
        assert State.EXITED is old.tracked.run.state
        assert 0 == keeper.seats.held(old.id)


async def test_declared_work_keeps_a_process_that_nobody_visits(house: House) -> None:
    async with app(house, most=1, idle=100.0) as keeper:
        worker = await enter(keeper, "a")
        leave(keeper, "a", 0.0)
        assert isinstance(worker.endpoint, UnixEndpoint)
        busy = Path(worker.endpoint.directory) / "busy"
        busy.touch()
        await trio.sleep(1000)
        assert State.READY is worker.state
        await open_socket(keeper, "b", worker.id)
        assert not await keeper.admission.is_over("s-b", "connection")
        os.utime(busy, (1.0, 1.0))  # it was forgotten
        assert await keeper.admission.is_over("s-b", "connection")
        leave(keeper, "b", 0.0)
        await trio.sleep(300)
        assert State.EXITED is worker.tracked.run.state


async def test_silence_does_not_end_a_session_whose_process_computes(house: House) -> None:
    async with app(house, most=1) as keeper:
        worker = await enter(keeper, "a")
        assert await keeper.admission.is_over("s-a", "connection")
        worker.ready_rule = COMPUTES
        await trio.sleep(10)
        assert not await keeper.admission.is_over("s-a", "connection")
        assert await keeper.admission.is_over("s-a", "read")
        assert not await keeper.admission.is_over("nobody", "read")


async def test_visitors_wait_while_the_helper_comes_back_and_see_no_failure(house: House) -> None:
    async with app(house, most=1) as keeper:
        house.executor.behaves = Behaviour(lives=0.2, listens=None, end=Exit(cause=Cause.LOST))
        verdicts = set()
        with trio.move_on_after(1.5):
            while True:
                verdicts.add((await keeper.admission.page("a", None)).verdict)
                await trio.sleep(0.05)
        assert {Verdict.STARTING} == verdicts
        house.executor.behaves = Behaviour()
        with trio.fail_after(5):
            await enter(keeper, "a")


async def test_a_visitor_may_have_a_given_up_app_tried_again_once_in_a_while(
    house: House,
) -> None:
    async with app(house, most=1) as keeper:
        house.executor.behaves = Behaviour(lives=0.1, listens=None)
        for _ in range(5):
            await keeper.admission.page("a", None)
            await trio.sleep(100)
        assert 5 == house.executor.count("start")
        assert Verdict.FAILED is (await keeper.admission.page("a", None)).verdict
        keeper.retry()
        keeper.retry()
        await trio.sleep(5)
        assert 6 == house.executor.count("start")
        house.executor.behaves = Behaviour()
        await trio.sleep(10)
        keeper.retry()
        with trio.fail_after(5):
            await enter(keeper, "a")
