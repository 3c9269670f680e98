"""Seats are given one by one: never one too many, none left empty, first come, first served."""

from __future__ import annotations

import re
import socket
import struct
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import httpx2
import pytest
import trio

from tests.support.browser import Tab, open_tabs
from tests.support.guests import NAVIGATE, Guest, Guests, guests
from tests.support.leftovers import api
from tests.support.server import LiveServer, live_server
from tests.support.shiny_client import Visitor
from tests.system.conftest import BAD

pytestmark = pytest.mark.system
NUMBERS = count(1)
Deploy = Callable[..., str]


@pytest.fixture(scope="module")
def server(everything: None) -> Iterator[LiveServer]:
    """A real server as root, shared by the tests of this module."""
    with live_server(extra="[Scheduler]\nIdleTimeout = 10s\n") as running:
        yield running


@pytest.fixture
def deploy(server: LiveServer) -> Deploy:
    """Deploy an app that counts its visitors, with so many processes and seats; give its URL."""

    def deployed(processes: int, seats: int, *, kind: str = "python", **more: object) -> str:
        name = f"{kind}-{next(NUMBERS):03}"
        server.deploy(BAD / f"{kind}-counts-its-visitors", name)
        fields = {"max_processes": processes, "max_conns_per_process": seats, **more}
        server.supervisor("set", name, *(f"{key}={value}" for key, value in fields.items()))
        return server.url + server.path(name)

    return deployed


def seats(server: LiveServer, url: str) -> Counter[str]:
    """How many seats of a content are open, away, reserved, and how many visitors wait."""
    guid = url.rstrip("/").rpartition("/")[2]
    rows: list[dict[str, Any]] = api(server, f"/v1/supervisor/sessions?content={guid}")
    return Counter(row["state"] for row in rows)


def no_seat_is_left(server: LiveServer, url: str, seconds: float = 20.0) -> None:
    begun = time.monotonic()
    server.until(lambda: not seats(server, url), seconds, f"no seat, not {seats(server, url)}")
    print(f"no seat is left after {time.monotonic() - begun:.1f} s")


def spread(party: Guests) -> list[int]:
    """How many guests each process has."""
    return sorted(Counter(guest.run for guest in party if guest.session).values())


async def test_six_visitors_end_on_three_processes_and_the_seventh_enters_when_one_leaves(
    server: LiveServer, deploy: Deploy
) -> None:
    url = deploy(3, 2)
    async with guests([url] * 6) as party:
        assert [2, 2, 2] == spread(party)
        (seventh,) = party.invite([url])
        await party.until(lambda: 1 in seventh.places, 10, "the seventh is next in line")
        (eighth,) = party.invite([url])
        await party.until(lambda: 2 in eighth.places, 10, "the eighth is second")
        assert {"open": 6, "waiting": 2} == seats(server, url)

        leaver = next(iter(party))
        left = trio.current_time()
        await party.leave([leaver])
        await party.served(10.0, [seventh])
        print(f"entered {trio.current_time() - left:.2f} s after one had left")
        assert seventh.run == leaver.run
        assert eighth.session is None
        await party.until(lambda: eighth.places[-1] == 1, 5, "the eighth is next now")
        assert [] == seventh.refusals == eighth.refusals


async def test_who_closes_a_waiting_tab_gives_up_the_place_in_line(
    server: LiveServer, deploy: Deploy
) -> None:
    url = deploy(1, 2)
    async with guests([url] * 2) as party:
        (gone,) = party.invite([url])
        await party.until(lambda: gone.places == [1], 10, "one waits")
        (second,) = party.invite([url])
        await party.until(lambda: second.places == [2], 10, "another one waits")
        await party.leave([gone])
        begun = trio.current_time()
        await party.until(lambda: second.places[-1] == 1, 20, "the other one is next")
        print(f"next after {trio.current_time() - begun:.1f} s")
        await party.leave([next(iter(party))])
        print(f"served after {await party.served(10):.1f} s")


async def test_of_two_hundred_at_once_sixty_have_a_seat_and_all_are_served_in_the_end(
    server: LiveServer, deploy: Deploy
) -> None:
    url = deploy(3, 20, reconnect_timeout="2s")
    async with guests() as party:
        begun = trio.current_time()
        crowd = party.invite([url] * 200)
        await party.until(lambda: len(_seated(party)) == 60, 60, "sixty are served")
        print(f"\nsixty are served after {trio.current_time() - begun:.1f} s on {spread(party)}")
        places = set(range(1, 141))
        await party.until(
            lambda: {_place(guest) for guest in party if not guest.session} == places,
            20,
            "everybody else has a place of their own",
        )
        assert [20, 20, 20] == spread(party)
        assert {"open": 60, "waiting": 140} == seats(server, url)
        queue = {guest: _place(guest) for guest in party if not guest.session}

        most = 0
        entered: list[int] = []
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                nonlocal most
                while True:
                    found = await trio.to_thread.run_sync(seats, server, url)
                    most = max(most, found["open"])
                    await trio.sleep(0.1)

            async def stay_a_moment() -> None:
                while list(party):
                    seated = _seated(party)
                    await trio.sleep(0.5)
                    entered.extend(queue[guest] for guest in seated if guest in queue)
                    await party.leave(seated)

            nursery.start_soon(watch)
            begun = trio.current_time()
            with trio.fail_after(120):
                await stay_a_moment()
            nursery.cancel_scope.cancel()
        print(f"the others were served within {trio.current_time() - begun:.1f} s; most {most}")
        assert [[]] * 200 == [guest.refusals for guest in crowd]
        assert [1] * 200 == [len(guest.visits) for guest in crowd]
        assert most <= 60
        assert max(guest.seen.most for guest in crowd if guest.seen) <= 20
        assert len({guest.visits[0].process for guest in crowd}) == 3
        late = [place for place in entered[:60] if place > 80]
        assert late == [], f"who came later was let in first: {late}"
    await trio.to_thread.run_sync(no_seat_is_left, server, url)


@pytest.mark.parametrize("pause", [0.0, 0.05], ids=["at once", "again and again"])
async def test_page_loads_without_a_session_lock_nobody_out(
    server: LiveServer, deploy: Deploy, pause: float
) -> None:
    url = deploy(3, 2, min_processes=3)
    async with guests([url] * 6, seconds=30) as party:
        assert [2, 2, 2] == spread(party)
        await party.leave()
        await trio.to_thread.run_sync(no_seat_is_left, server, url)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_crawl, url, pause)
            await trio.sleep(0.5)
            (guest,) = party.invite([url])
            waited = await party.served(10)
            nursery.cancel_scope.cancel()
        print(f"served after {waited:.2f} s; told {guest.places}")
        assert waited < 3.0
        assert [] == guest.refusals


async def test_broken_attempts_to_open_a_websocket_leak_no_seat(
    server: LiveServer, deploy: Deploy
) -> None:
    url = deploy(1, 4, reconnect_timeout="2s")
    async with guests([url]):
        for attempt in ATTEMPTS * 3:
            visitor = Visitor(url)
            await visitor.get(headers=NAVIGATE)
            pin = visitor.cookies.get("supervisor-pin")
            await trio.to_thread.run_sync(attempt, url, pin.value if pin else "")
    await trio.to_thread.run_sync(no_seat_is_left, server, url)
    async with guests([url] * 4, seconds=20) as party:
        assert [4] == spread(party)


def test_seven_browsers_at_six_seats(server: LiveServer, deploy: Deploy, tmp_path: Any) -> None:
    url = deploy(3, 2)
    with open_tabs(7) as tabs:
        for tab in tabs[:6]:
            tab.page.goto(url)
        processes = Counter(_process(tab) for tab in tabs[:6])
        assert [2, 2, 2] == sorted(processes.values())
        last = tabs[6]
        last.page.goto(url)
        last.page.get_by_text("You are next.").wait_for(timeout=10_000)
        last.screenshot(tmp_path / "in-line.png")
        assert {"open": 6, "waiting": 1} == seats(server, url)
        left = time.monotonic()
        free = _process(tabs[0])
        tabs[0].page.close()
        assert free == _process(last)
        print(f"entered {time.monotonic() - left:.1f} s after one had left; see {tmp_path}")
        last.screenshot(tmp_path / "entered.png")
        assert [] == last.errors


def _process(tab: Tab) -> str:
    """The process that the app says it is, once it says so."""
    value = tab.page.locator("#value", has_text=re.compile(r"^\w+( \d+){5}$"))
    value.wait_for(timeout=30_000)
    return value.inner_text().split()[0]


def _seated(party: Guests) -> list[Guest]:
    return [guest for guest in party if guest.session]


def _place(guest: Guest) -> int:
    """The position in line that a guest was told last, 0 for none."""
    place = guest.places[-1] if guest.places else 0
    return place if isinstance(place, int) else 0


async def _crawl(url: str, pause: float) -> None:
    """Load the page a hundred times as a hundred visitors, and once more and more with a pause."""
    limit = trio.CapacityLimiter(10)

    async def load() -> None:
        async with limit:
            await Visitor(url).get(headers=NAVIGATE)

    async with trio.open_nursery() as nursery:
        for number in count():
            if number >= 100 and not pause:
                return
            nursery.start_soon(load)
            await trio.sleep(pause)


# -- broken attempts ------------------------------------------------------------------------------


def _request(url: str, pin: str) -> tuple[socket.socket, bytes]:
    parts = httpx2.URL(url)
    sock = socket.create_connection((parts.host, parts.port or 80), timeout=10)
    lines = (
        f"GET {parts.path}websocket/ HTTP/1.1",
        f"Host: {parts.netloc.decode()}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        f"Cookie: supervisor-pin={pin}",
    )
    return sock, ("\r\n".join(lines) + "\r\n\r\n").encode()


def _reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def half_a_head(url: str, pin: str) -> None:
    sock, request = _request(url, pin)
    sock.sendall(request[: len(request) // 2])
    sock.close()


def reset_before_the_answer(url: str, pin: str) -> None:
    sock, request = _request(url, pin)
    sock.sendall(request)
    _reset(sock)


def half_closed_before_the_answer(url: str, pin: str) -> None:
    sock, request = _request(url, pin)
    sock.sendall(request)
    sock.shutdown(socket.SHUT_WR)
    while sock.recv(4096):
        pass
    sock.close()


def reset_after_the_answer(url: str, pin: str) -> None:
    sock, request = _request(url, pin)
    sock.sendall(request)
    sock.recv(4096)
    _reset(sock)


def nonsense_after_the_answer(url: str, pin: str) -> None:
    sock, request = _request(url, pin)
    sock.sendall(request)
    sock.recv(4096)
    sock.sendall(b"\x00" * 64)  # frames of a client must be masked
    while sock.recv(4096):
        pass
    sock.close()


ATTEMPTS = [
    half_a_head,
    reset_before_the_answer,
    half_closed_before_the_answer,
    reset_after_the_answer,
    nonsense_after_the_answer,
]
