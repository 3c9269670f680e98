"""A hundred sessions are open, and nothing that is done to the server closes one of them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
import trio

from tests.support.guests import Guests, guests
from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer, kill, live_server
from tests.system.conftest import BAD

pytestmark = pytest.mark.system
SCALING = """
[Scheduler]
MaxProcesses = 5
MaxConnsPerProcess = 20
LoadFactor = 1.0
IdleTimeout = 5s
"""
GUESTS = {"python": 100, "r": 60}
BACK = 2.0  # seconds until everybody is back once the gateway was killed


@pytest.fixture(scope="module")
def server(everything: None) -> Iterator[LiveServer]:
    """A real server whose apps may have five processes of twenty seats."""
    with live_server(extra=SCALING) as running:
        yield running


@pytest.fixture(params=GUESTS)
def kind(request: pytest.FixtureRequest, server: LiveServer) -> str:
    """Whose app it is: python or r. It is deployed as `{kind}-app`, with the server's scaling."""
    kind = str(request.param)
    if not server.rows("list", name=f"{kind}-app"):
        server.deploy(BAD / f"{kind}-counts-its-visitors", f"{kind}-app")
    return kind


def redeployed(server: LiveServer, name: str) -> None:
    kind = name.removesuffix("-app")
    server.deploy(BAD / f"{kind}-counts-its-visitors", name)


def restarted_rolling(server: LiveServer, name: str) -> None:
    server.supervisor("restart", "--rolling", name)


def scaled_down(server: LiveServer, name: str) -> None:
    server.supervisor("set", name, "max_processes=2")


def core_killed(server: LiveServer, name: str) -> None:
    old = server.core
    kill(old)
    server.until(lambda: server.core not in (None, old), 10, "a new core")


def reloaded(server: LiveServer, name: str) -> None:
    parent, core, log = server.parent, server.core, len(server.log())
    server.supervisor("reload")
    server.until(lambda: " parent reloaded problems=0" in server.log()[log:], 60, "reloaded")
    assert (server.parent, False) == (parent, server.core == core)


@pytest.mark.parametrize(
    "change", [redeployed, restarted_rolling, scaled_down, core_killed, reloaded]
)
async def test_no_session_is_closed_before_its_time(
    server: LiveServer, kind: str, change: Callable[[LiveServer, str], None]
) -> None:
    name, count = f"{kind}-app", GUESTS[kind]
    begun = time.monotonic()
    async with guests([server.url + server.path(name)] * count) as party:
        print(f"\n{count} served after {time.monotonic() - begun:.1f} s on {_spread(party)}")
        await party.move()
        old = {guest.run for guest in party}
        async with trio.open_nursery() as nursery:
            done = trio.Event()
            nursery.start_soon(_keep_moving, party, done)
            await trio.to_thread.run_sync(change, server, name)
            await trio.sleep(2.0)  # whatever it sets going
            done.set()
        waits = sorted(await party.move())
        print(f"{change.__name__}: p50 {waits[count // 2]:.3f} s, longest {waits[-1]:.3f} s")
        assert [] == party.cuts()
        if change in (redeployed, restarted_rolling):
            (newcomer,) = party.invite([server.url + server.path(name)])
            await party.served(30.0)
            assert newcomer.run not in old, "new visitors go to new processes"
    if change is scaled_down:
        await trio.to_thread.run_sync(
            lambda: server.until(lambda: len(server.rows("ps")) <= 2, 20, "two processes at most")
        )
        server.supervisor("set", name, "max_processes=5")
    await trio.to_thread.run_sync(nothing_is_left, server)


async def test_everybody_is_back_on_the_same_process_when_the_gateway_was_killed(
    server: LiveServer, kind: str
) -> None:
    name, count = f"{kind}-app", GUESTS[kind]
    async with guests([server.url + server.path(name)] * count) as party:
        before = [(guest.visits[-1].run, guest.visits[-1].process) for guest in party]
        kill(server.gateway)
        await party.until(lambda: len(party.cuts()) == count, 5, "everybody is cut off")
        first = min(cut.at for cut in party.cuts())
        await party.served(20.0)
        waited = trio.current_time() - first
        print(f"\n{count} back after {waited:.2f} s")
        assert before == [(guest.visits[-1].run, guest.visits[-1].process) for guest in party]
        assert [1] * count == [len(guest.cuts) for guest in party]
        assert waited < BACK
        await party.move()


async def _keep_moving(party: Guests, done: trio.Event) -> None:
    while not done.is_set():
        await party.move()
        await trio.sleep(0.2)


def _spread(party: Guests) -> list[int]:
    """How many guests each process has."""
    return sorted(Counter(guest.run for guest in party).values())
