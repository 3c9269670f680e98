"""A day of a server on a clock that jumps: arrivals by the hour, operators, accidents, rules."""

from __future__ import annotations

import gc
import itertools
import os
import random
import shutil
import socket
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import partial

import attrs
import trio

from supervisor.interfaces import Change
from supervisor.model import Content, ContentId, ContentKind
from tests.support.day import rules
from tests.support.day.clock import DayClock
from tests.support.day.core import Ledger, guid_of
from tests.support.day.operators import Operators, any_scaling
from tests.support.day.processes import Processes
from tests.support.day.server import Server
from tests.support.day.visitors import Visitor
from tests.support.day.world import App, World

HOUR = 3600.0
# how busy each hour of a day is, from midnight on
PROFILE = (1, 1, 1, 1, 1, 2, 4, 8, 14, 20, 20, 16, 10, 14, 20, 18, 14, 8, 5, 4, 3, 2, 2, 1)
RUSH = 40  # visitors of a lecture, who come within seconds
STARTS_AT_ONCE = 3


@attrs.frozen(kw_only=True)
class Day:
    """What to simulate. visitors: who come for a session or more; others come too."""

    seed: int
    contents: int = 100
    visitors: int = 1000
    hours: float = 24.0


@attrs.frozen(kw_only=True)
class Result:
    """What has happened. seconds: of real time, cpu included; simulated: of the mock clock."""

    seconds: float
    cpu: float
    simulated: float
    figures: dict[str, int]
    waited: list[float]


def simulate(day: Day) -> Result:
    """Live through a day; raises RuleBroken with the seed and a history where a rule does not hold.

    The same day is the same story each time where trio's scheduler is deterministic, as it is
    under pytest.
    """
    trio._core._run._r.seed(day.seed)
    gc.collect()
    gc.freeze()  # as the core and the gateway do
    world = World(seed=day.seed, random=random.Random(day.seed))
    began, cpu = time.perf_counter(), time.process_time()
    directory = tempfile.mkdtemp(prefix="day", dir="/tmp")
    try:
        clock = DayClock()
        simulated = trio.run(_live, day, world, directory, clock=clock)
    finally:
        shutil.rmtree(directory)
    if world.failure is not None:
        raise world.failure
    return Result(
        seconds=time.perf_counter() - began,
        cpu=time.process_time() - cpu,
        simulated=simulated,
        figures=dict(sorted(world.figures.items())),
        waited=sorted(world.waited),
    )


async def _live(day: Day, world: World, directory: str) -> float:
    processes = Processes(world, directory, most_starting=STARTS_AT_ONCE)
    operators, ledger = Operators(world), Ledger(world)
    for number in range(1, day.contents + 1):
        _add_content(world, ContentId(number), ledger, operators)
    path = os.path.join(directory, "link")
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(path)
        listener.listen(100)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_stop_when_broken, world, nursery.cancel_scope)
            await nursery.start(processes.serve)
            server = Server(world, ledger, processes, listener, path, nursery)
            await server.new_core()
            server.new_gateway()
            nursery.start_soon(rules.watch, world)
            await _pass(day, server, operators)
            nursery.cancel_scope.cancel()
    return trio.current_time()


async def _stop_when_broken(world: World, scope: trio.CancelScope) -> None:
    await world.failed.wait()
    scope.cancel()


def _add_content(world: World, number: ContentId, ledger: Ledger, operators: Operators) -> None:
    chance = world.random
    app = App(
        number=number,
        guid=guid_of(number),
        scaling=any_scaling(world),
        starts=chance.choice((0.3, 2.0, 5.0, 20.0)),
        stirring=world.stirring,
        computes=chance.choice((0.0, 0.0, 0.1, 0.5)),
    )
    world.apps[app.guid] = app
    deployment = operators.deployment(number)
    content = Content(
        id=number,
        guid=app.guid,
        name=f"app-{number}",
        kind=ContentKind.APP,
        active_deployment=deployment.id,
        scaling=app.scaling,
    )
    ledger.fact(
        Change(kind="deployment", record=deployment), Change(kind="content", record=content)
    )


async def _pass(day: Day, server: Server, operators: Operators) -> None:
    """Let everything happen, each at its time; then wait until all is quiet, and look."""
    world = server.world
    async with trio.open_nursery() as nursery:
        for at, happens in _events(day, server, operators):
            await trio.sleep_until(at)
            nursery.start_soon(happens)
    longest = max(server.core.keeper(app).scaling.idle for app in world.apps.values())
    await trio.sleep(longest + rules.NOTICED + 120)
    rules.look_at_end(world, server.processes)


Happening = tuple[float, Callable[[], Awaitable[None]]]


def _events(day: Day, server: Server, operators: Operators) -> list[Happening]:
    """Give what happens, in order."""
    events = [*_visits(day, server.world), *_orders(day, server, operators)]
    for happens, often in (
        (server.replace_core, 6),
        (server.kill_gateway, 4),
        (server.replace_gateway, 4),
    ):
        events += [(_moment(day, server.world), happens) for _ in range(often)]
    return sorted(events, key=lambda event: event[0])


def _visits(day: Day, world: World) -> Iterator[Happening]:
    apps, chance = list(world.apps.values()), world.random
    weights = [1 / (1 + place) ** 0.8 for place in range(len(apps))]
    numbers = itertools.count(1)

    def visitor(app: App) -> Visitor:
        return Visitor(world, app, f"visitor-{next(numbers)}", minutes=chance.choice((1, 8, 20)))

    left = day.visitors
    while left > 0:
        (app,) = chance.choices(apps, weights)
        at = _moment(day, world)
        together = RUSH if chance.random() < 0.003 else 1
        for _ in range(min(together, left)):
            yield at + chance.uniform(0, together / 10), visitor(app).come
        left -= together
        if chance.random() < 0.1:
            for _ in range(100 if chance.random() < 0.03 else 1):
                yield at + chance.uniform(0, 1), visitor(app).crawl


def _orders(day: Day, server: Server, operators: Operators) -> Iterator[Happening]:
    apps, chance = list(server.world.apps.values()), server.world.random
    weights = [1 / (1 + place) ** 0.8 for place in range(len(apps))]
    for act, share in operators.share().items():
        for _ in range(round(share * day.visitors / 100)):
            (app,) = chance.choices(apps, weights)
            yield _moment(day, server.world), partial(server.order, act, app)


def _moment(day: Day, world: World) -> float:
    """Give a moment of the day, more likely a busy one."""
    (hour,) = world.random.choices(range(len(PROFILE)), PROFILE)
    return (hour + world.random.random()) * HOUR * day.hours / len(PROFILE)
