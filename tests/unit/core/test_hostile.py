"""What visitors who come, go and change their minds leave behind in the core: nothing."""

from __future__ import annotations

import math
import os
from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from supervisor.core.contents.views import session_views
from supervisor.core.routing import routes
from supervisor.core.scheduling.line import Line
from supervisor.core.scheduling.seats import CALLED, CLOSED, FIRM
from supervisor.core.scheduling.starts import LONGEST_START, Starts
from supervisor.core.scheduling.verdict import Verdict
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import Overrides
from supervisor.testing.executors import Behaviour
from supervisor.testing.house import House, a_content, a_deployment, a_job, a_run, keeping
from tests.unit.core.routing.test_routes import linked
from tests.unit.core.scheduling.test_admission import app, enter, leave, open_socket

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def test_a_socket_that_is_forgotten_before_it_has_a_seat_is_not_remembered(
    house: House, short: Path
) -> None:
    house.executor.behaves = Behaviour(listens=30)
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        asked = {"content": "guid-1", "visitor": "v", "run": None, "want": "socket"}
        for number in range(5):
            gateway.say("resolve", id=number, seat=f"g-{number}", **asked)
            gateway.say("forget", id=number)
            await gateway.hear("answer")
        [known] = link.routes.gateways
        assert {} == known.seats


async def test_a_seat_that_is_granted_while_its_socket_is_forgotten_is_free(house: House) -> None:
    async with app(house, sessions_each=1, least=1, most=2, init=0.0) as keeper:
        await trio.sleep(5)
        house.executor.behaves = Behaviour(listens=None)  # another one is on its way for ever
        worker = await enter(keeper, "a")
        for _ in range(30):  # whether the grant or the end of the wait comes first is by chance
            async with trio.open_nursery() as nursery:
                nursery.start_soon(keeper.admission.socket, "s-b", "b", None)
                await trio.testing.wait_all_tasks_blocked()
                keeper.seats.drop("s-a")
                keeper.admission.wake()
                nursery.cancel_scope.cancel()
            assert [] == list(keeper.seats)
            keeper.admission.opened("s-a", worker.id, "a", 0.0)


async def test_who_was_called_from_the_line_has_time_to_load_a_heavy_page(house: House) -> None:
    async with app(house, sessions_each=1, most=1) as keeper:
        await enter(keeper, "a")
        assert Verdict.QUEUED is (await keeper.admission.page("b", None)).verdict
        assert Verdict.QUEUED is (await keeper.admission.wait("b")).verdict
        leave(keeper, "a", 0.0)
        called = await keeper.admission.wait("b")
        assert called.worker is (await keeper.admission.page("b", None)).worker
        await keeper.admission.page("c", None)
        await keeper.admission.page("c", None)  # and comes back: it may take a turn
        await trio.sleep(CALLED - 1)  # longer than FIRM, the time of a page without a line
        assert CALLED - 1 > FIRM
        with trio.fail_after(0.1):
            assert called.worker is await open_socket(keeper, "b", None)


async def test_a_rolling_restart_lets_a_deployment_under_way_go_on(house: House) -> None:
    async with app(house, least=1, most=1) as keeper:
        await trio.sleep(5)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.try_out, keeper.content, a_deployment(2))
            await trio.sleep(0.5)
            rolled = trio.current_time()
            keeper.content = a_content(scaling=keeper.content.scaling, rolled=rolled)
            keeper.roll()
            # try_out raises where its process is stopped


async def test_a_line_goes_on_when_a_process_lets_go_of_a_session_late(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        keeper = link.keeper
        keeper.content = a_content(scaling=Overrides(sessions_each=2, most=1))
        gateway = link.connect()
        await gateway.greet()
        worker = await enter(keeper, "a")
        await enter(keeper, "b")
        gateway.say("activity", runs={worker.id: {"sockets": 2}})
        await trio.sleep(1)
        leave(keeper, "a")
        await trio.sleep(CLOSED + 1)  # its seat is free, but the process has not noticed yet
        gateway.say("resolve", id=1, content="guid-1", visitor="c", run=None, want="wait")
        assert "queued" == (await gateway.hear("answer"))["as"]
        gateway.say("resolve", id=2, content="guid-1", visitor="c", run=None, want="wait")
        await trio.sleep(1)
        gateway.say("activity", runs={worker.id: {"sockets": 1}})
        with trio.fail_after(1):
            assert "worker" == (await gateway.hear("answer"))["as"]


async def test_without_a_limit_to_the_start_a_socket_waits_for_it_like_everybody(
    house: House,
) -> None:
    async with app(house, init=0.0) as keeper:
        house.executor.behaves = Behaviour(listens=30)
        assert Verdict.WORKER is (await keeper.admission.socket("s", "v", None)).verdict


async def test_visitors_in_line_are_reason_enough_to_try_again_after_a_failed_start(
    house: House,
) -> None:
    async with app(house, sessions_each=1, most=2) as keeper:
        await enter(keeper, "a")
        house.executor.behaves = Behaviour(lives=0.1, listens=None)
        keeper.content = a_content(scaling=Overrides(sessions_each=1, most=2, least=0))
        await keeper.admission.page("b", None)
        await keeper.admission.wait("b")
        await trio.sleep(0.5)
        assert keeper.failures.last is not None
        before = house.executor.count("start")
        retry_at = keeper.failures.retry_at
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.admission.wait, "b")
            await trio.sleep_until(retry_at + 0.5)
            assert house.executor.count("start") > before
            nursery.cancel_scope.cancel()


async def test_a_rolling_restart_replaces_processes_that_were_made_in_a_future_of_the_clock(
    house: House,
) -> None:
    house.clock = lambda: 1e9
    async with app(house, least=1, most=1) as keeper:
        await trio.sleep(5)
        [old] = keeper.workers
        house.clock = lambda: 1000.0  # somebody has set it back
        for _ in range(2):
            keeper.content = a_content(
                scaling=keeper.content.scaling, rolled=keeper.after_all_runs(1000.0)
            )
            keeper.roll()
            await trio.sleep(10)
            [new] = keeper.workers
            assert new is not old
            old = new
        assert 3 == house.executor.count("start")


def test_a_place_that_was_given_up_does_not_speak_for_its_visitors_new_one() -> None:
    line = Line()
    old = line.join("v", "v", 0.0)
    line.listens(old, +1)
    line.leave(old)
    line.join("v", "v", 1.0, comes_back=True)
    line.listens(old, -1)
    assert 1 == line.waiting()


async def test_a_gateway_that_talks_nonsense_of_seats_is_not_believed(
    house: House, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "MOST_SEATS", 10)
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        worker = await link.ready()
        ages = [float("nan"), float("inf"), -5.0, 1.5]
        seats = [[f"g-{number}", worker.id, "v", age] for number, age in enumerate(ages)]
        gateway.say("activity", runs={}, seats=seats)
        await trio.sleep(0.2)
        usage: dict[str, list[float]] = {}
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                usage.update(await link.routes.usage())

            nursery.start_soon(ask)
            number = (await gateway.hear("tell"))["id"]
            figures = [["g-0", 1], ["g-1", 1, 2, 3, float("inf")], ["g-2", 1, 2, 3, float("nan")]]
            gateway.say("told", id=number, seats=[*figures, ["g-3", 1, 2, 3, 4]])
        assert {"g-3": [1, 2, 3, 4]} == usage
        views = list(session_views(link.keeper, usage))
        assert 4 == len(views)
        assert all(math.isfinite(view.age) for view in views)

        many = [[f"h-{number}", worker.id, "v", 1.0] for number in range(11)]
        gateway.say("activity", runs={}, seats=many)
        await gateway.until_hung_up()


async def test_visitors_who_ask_for_another_try_again_and_again_fill_no_log(house: House) -> None:
    async with app(house, most=1) as keeper:
        house.executor.behaves = Behaviour(lives=0.1, listens=None)
        await keeper.admission.page("a", None)
        await trio.sleep(0.5)
        log = os.memfd_create("log")
        keeper.log = Log("core", fd=log)
        for _ in range(100):
            keeper.retry()
        assert 1 == os.pread(log, 65536, 0).count(b"retry-asked")


async def test_a_content_that_starts_for_ever_does_not_keep_all_others_from_starting(
    house: House,
) -> None:
    starts = Starts(most=1)
    endless = house.keeper(a_content(1, scaling=Overrides(init=0.0)))
    other = house.keeper(a_content(2))
    endless.starts = other.starts = starts
    house.executor.behaves = Behaviour(listens=None)
    async with keeping(endless), keeping(other):
        await endless.admission.page("a", None)
        await trio.sleep(1)
        house.executor.behaves = Behaviour(listens=1)
        with trio.fail_after(LONGEST_START + 5):
            await enter(other, "b")


async def test_a_flood_of_page_loads_starts_no_further_process(house: House) -> None:
    async with app(house, sessions_each=4, most=3) as keeper:
        await enter(keeper, "first")
        for second in range(20):
            async with trio.open_nursery() as nursery:
                for number in range(30):
                    visitor = f"crawler-{second}-{number}"
                    nursery.start_soon(keeper.admission.page, visitor, None)
            await trio.sleep(1)
        assert 1 == len(keeper.workers)


@pytest.mark.parametrize(("rolled", "bounded"), [(0.0, False), (5.0, True)])
async def test_a_new_core_ends_no_session_that_the_old_one_would_have_let_go_on(
    house: House, rolled: float, bounded: bool
) -> None:
    run = a_run(state=State.DRAINING, created=1.0)  # replaced, or one of too many processes
    worker = house.worker(attrs.evolve(run, receipt=await house.executor.start(a_job(run))))
    keeper = house.keeper(a_content(rolled=rolled), workers=[worker])
    async with keeping(keeper):
        await trio.sleep(1)
        assert bounded is (worker.ends_at is not None)


async def test_a_crowd_that_comes_one_by_one_does_not_keep_the_core_telling_its_line(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = 0

    def tell(line: Line) -> None:
        nonlocal told
        told += len(line)

    async with app(house, sessions_each=1, least=1, most=1) as keeper:
        await enter(keeper, "in")
        async with trio.open_nursery() as nursery:

            async def wait(visitor: str) -> None:
                while (await keeper.admission.wait(visitor)).worker is None:
                    pass

            for number in range(100):
                nursery.start_soon(wait, f"v{number}")
            await trio.sleep(1)
            monkeypatch.setattr(Line, "tell", tell)
            for number in range(100):
                nursery.start_soon(wait, f"w{number}")
                await trio.sleep(0.01)
            assert 0 < told < 100 * 10  # each arrival told at once would be 100 * 150
            monkeypatch.undo()
            leave(keeper, "in", 0.0)
            await trio.sleep(0.2)  # whose turn it is learns at once
            assert 1 == keeper.seats.taken(keeper.workers[0].id)
            nursery.cancel_scope.cancel()
