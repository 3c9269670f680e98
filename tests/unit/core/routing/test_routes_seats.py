"""The gateway link: seats that are asked for, told, left, silent, and asked about."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from supervisor.core.scheduling.line import PATIENCE
from supervisor.core.scheduling.seats import CLOSED, Hold
from supervisor.testing.house import House
from tests.unit.core.routing.test_routes import FakeGateway, Link, linked

pytestmark = pytest.mark.usefixtures("autojump_clock")


async def ask_seat(gateway: FakeGateway, seat: str, run: str | None = None, **fields: str) -> str:
    """Ask for a seat; give how the answer begins."""
    gateway.say(
        "resolve", id=9, content="guid-1", want="socket", visitor="v", run=run, seat=seat, **fields
    )
    return str((await gateway.hear("answer"))["as"])


def holds(link: Link) -> dict[str, Hold]:
    return {seat.name: seat.hold for seat in link.keeper.seats}


async def settle() -> None:
    await trio.sleep(0.2)


async def test_a_seat_is_granted_told_of_and_kept_for_a_while_after_it_was_left(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        await link.ready()
        assert "worker" == await ask_seat(gateway, "g-1")
        assert "worker" == await ask_seat(gateway, "g-2")
        assert {"g-1": Hold.OPEN, "g-2": Hold.OPEN} == holds(link)
        gateway.say("activity", runs={}, left=[["g-1", True], ["g-2", False], ["unknown", True]])
        await settle()
        assert {"g-1": Hold.AWAY, "g-2": Hold.AWAY} == holds(link)
        await trio.sleep(CLOSED + 1)
        assert {"g-2": Hold.AWAY} == holds(link)
        await trio.sleep(link.keeper.scaling.reconnect)
        assert {} == holds(link)


async def test_a_page_reserves_and_its_socket_takes_that_seat(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        worker = await link.ready()
        assert worker.id == (await gateway.resolve("page"))["run"]
        assert (1, 0) == (link.keeper.seats.taken(worker.id), link.keeper.seats.held(worker.id))
        assert "worker" == await ask_seat(gateway, "g-1", run=worker.id)
        assert (1, 1) == (link.keeper.seats.taken(worker.id), link.keeper.seats.held(worker.id))


async def test_the_seats_of_a_gateway_that_ends_are_kept_for_their_clients(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        worker = await link.ready()
        await ask_seat(gateway, "g-1")
        gateway.close()
        await settle()
        assert {"g-1": Hold.AWAY} == holds(link)
        link.gateways.clear()
        successor = link.connect()
        await successor.greet()
        assert "worker" == await ask_seat(successor, "h-1", run=worker.id)
        assert {"h-1": Hold.OPEN} == holds(link)
        assert 1 == link.keeper.seats.held(worker.id)


async def test_a_complete_picture_may_come_in_parts_and_ends_what_is_not_in_it(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        worker = await link.ready()
        await ask_seat(gateway, "g-old")
        gateway.say("activity", runs={}, seats=[["g-1", worker.id, "a", 60.0]], all=True, more=True)
        await settle()
        assert Hold.OPEN is holds(link)["g-old"]  # the picture is not complete yet
        gateway.say("activity", runs={}, seats=[["g-2", worker.id, "b", 1.0], ["g-3", "x", "c", 0]])
        await settle()
        assert {"g-old": Hold.AWAY, "g-1": Hold.OPEN, "g-2": Hold.OPEN} == holds(link)
        seat = link.keeper.seats.get("g-1")
        assert seat is not None
        assert 60.0 == pytest.approx(trio.current_time() - seat.since, abs=1)


async def test_who_is_silent_for_too_long_is_ended_and_nobody_else(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        await link.ready()
        await ask_seat(gateway, "g-1")
        gateway.say("silent", seat="nobody", which="read", seconds=3600)
        gateway.say("silent", seat="g-1", which="read", seconds=3600)
        message = await gateway.hear("end")
        assert "g-1" == message["seat"]
        assert "nothing was heard for 3600 s (ReadTimeout)" == message["reason"]


async def test_the_use_of_seats_is_asked_for_and_comes_in_parts(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        usage: dict[str, list[float]] = {}
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                usage.update(await link.routes.usage())

            nursery.start_soon(ask)
            number = (await gateway.hear("tell"))["id"]
            gateway.say("told", id=number, seats=[["g-1", 1, 2, 3, 4]], more=True)
            gateway.say("told", id=number, seats=[["g-2", 5, 6, 7, 8]])
        assert {"g-1": [1, 2, 3, 4], "g-2": [5, 6, 7, 8]} == usage


async def test_a_gateway_that_does_not_say_how_its_seats_are_used_is_not_waited_for(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        with trio.fail_after(5):
            assert {} == await link.routes.usage()


async def test_a_worker_is_told_with_its_limits_and_when_it_ends(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        worker = await link.ready()
        told = await gateway.hear("worker")
        limits = {name: told[name] for name in ("connection", "read", "ends", "notice")}
        assert {"connection": 3600.0, "read": 3600.0, "ends": None, "notice": True} == limits
        worker.drain("a newer deployment is active", ends_at=trio.current_time() + 100)
        told = await gateway.hear("worker")
        assert "draining" == told["state"]
        assert 100 == pytest.approx(told["ends"], abs=1)


async def test_a_full_content_is_said_to_be_full_and_its_line_has_positions(
    house: House, short: Path
) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        await link.ready()
        for number in range(3 * 20):
            with trio.fail_after(30):
                assert "worker" == await ask_seat(gateway, f"g-{number}")
            await trio.sleep(1)
        assert "full" == await ask_seat(gateway, "g-more")
        answer = await gateway.resolve("page")
        assert ("queued", 1) == (answer["as"], answer["position"])


async def test_whoever_asks_no_more_takes_no_turn_and_no_seat(house: House, short: Path) -> None:
    async with linked(house, short) as link:
        gateway = link.connect()
        await gateway.greet()
        asked = {"content": "guid-1", "visitor": "v", "run": None}
        gateway.say("resolve", id=0, want="wait", **asked)
        assert "starting" == (await gateway.hear("answer"))["as"]
        gateway.say("resolve", id=1, want="wait", **asked)
        gateway.say("resolve", id=2, want="socket", seat="g-1", **asked)
        gateway.say("forget", id=1)
        gateway.say("forget", id=2)
        gateway.say("forget", id="unknown")
        answers = [await gateway.hear("answer") for _ in range(2)]
        assert ["unavailable"] * 2 == [answer["as"] for answer in answers]
        assert {1, 2} == {answer["id"] for answer in answers}
        await trio.sleep(PATIENCE + 1)
        assert 0 == link.keeper.line.waiting()
        assert {} == holds(link)
