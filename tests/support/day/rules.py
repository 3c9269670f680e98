"""What must hold at every moment of a simulated day. Each function looks at one kind of moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import trio

from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.seats import Hold
from supervisor.lifecycle import State
from supervisor.model import RunId
from tests.support.day.world import App, World

if TYPE_CHECKING:
    from tests.support.day.gateway import DayGateway, Question, Session
    from tests.support.day.processes import Process, Processes

SETTLED = 3.0  # seconds after which what the core knows agrees with what is
FORGOTTEN = 20.0  # seconds after the last visitor until no seat is held
NOTICED = 150.0  # seconds over IdleTimeout until idle processes have ended
ORDERLY = 1.0  # seconds between joining the line and asking again, at most
DRAINED = 30.0  # seconds over ReconnectTimeout until a draining process without sessions ends
LOOK = 10.0  # seconds between two looks at everything
RECOUNT = 60.0  # seconds between two counts of seats where nothing has happened


def answered(world: World, gateway: DayGateway, question: Question, answer: dict[str, Any]) -> None:
    """Look at an answer at the moment at which the core gives it."""
    app, want = question.app, question.message["want"]
    core = world.core
    if core is None:
        return
    keeper = core.keeper(app)
    if answer["as"] == "full":
        each = keeper.scaling.sessions_each
        free = sum(max(0, each - keeper.seats.held(w.id)) for w in keeper.serving())
        if free > keeper.line.waiting():
            world.broke(app, f"a visitor is refused while {free} seats are free")
    if answer["as"] != "worker":
        return
    run = RunId(answer["run"])
    worker = core.contents.registry.workers.get(run)
    if worker is None:
        return  # it ended while the answer was on its way
    drains = worker.state is State.DRAINING
    if drains and (want in ("page", "wait") or question.message["run"] != run):
        world.broke(app, f"a new visitor ({want}) is sent to {run}, which drains")
    if gateway.table.get(run, ("", ""))[0] != app.guid:
        world.broke(app, f"{gateway.name} is sent to {run} without having been told of it")
    if want != "socket" and question.message["run"] is None:
        visitor = question.message["visitor"]
        if visitor in app.called:
            app.called.discard(visitor)  # it loads the page of the seat that it was called to
        else:
            _look_at_order(world, app, visitor, keeper)
        if want == "wait":
            app.called.add(visitor)
    each, taken = keeper.scaling.sessions_each, keeper.seats.taken(run)
    process = app.processes.get(run)
    if process is None:
        return
    if taken <= each:
        process.pardoned = False
    elif not process.pardoned:
        world.broke(app, f"{taken} of {each} seats of {run} are taken ({want})")


def opened(world: World, session: Session, *, granted: bool) -> None:
    """Look at a session that has just been opened."""
    process, core = session.process, world.core
    if not granted or core is None:
        process.pardoned = True
        return
    each = core.keeper(session.app).scaling.sessions_each
    if len(process.sessions) > each and not process.pardoned:
        world.broke(session.app, f"{len(process.sessions)} sessions in {process.id}, not {each}")
    most = world.figures["most sessions at once"]
    living = sum(len(gateway.sessions) for gateway in world.gateways)
    world.figures["most sessions at once"] = max(most, living)


def came_back(
    world: World,
    gateway: DayGateway,
    process: Process,
    lost_at: float,
    asked: float,
    answer: dict[str, Any],
) -> None:
    """Whoever comes back in time gets their seat at once, in the same process."""
    core, now = world.core, trio.current_time()
    if core is None or world.core_since > lost_at - SETTLED or gateway.up_since > asked:
        return
    window = core.keeper(process.app).scaling.reconnect
    if asked - lost_at > window - 2 * 0.1 - 0.01 or process.exit is not None or process.ordered:
        return
    if answer.get("run") != process.id or now - asked > 0.05:
        world.broke(process.app, f"who came back to {process.id} got {answer} after {now - asked}")
    world.figures["came back"] += 1


def waits(app: App, visitor: str) -> None:
    """Note that a visitor asks again, and so takes part in the line."""
    app.waiting.setdefault(visitor, trio.current_time())


def waits_no_more(app: App, visitor: str) -> None:
    """Note that a visitor has no place in line."""
    app.waiting.pop(visitor, None)


def _look_at_order(world: World, app: App, visitor: str, keeper: Keeper) -> None:
    """Nobody is let in before somebody who has asked again and again for longer."""
    now = trio.current_time()
    came = app.waiting.pop(visitor, now)  # with several tabs, one of them has got the place
    if came < world.core_since:
        return  # a new core knows no more than the order in which it was asked
    for place in keeper.line:
        # a WebSocket has waited since it asked, however long its visitor's other tabs wait
        theirs = app.waiting.get(place.visitor, now) if place.seat is None else place.joined
        early = world.core_since < theirs < came - ORDERLY and theirs < now - ORDERLY
        if place.counts and early:
            world.broke(app, f"{visitor} (since {came:.3f}) overtakes {place}, since {theirs:.3f}")


async def watch(world: World) -> None:
    """Look at all contents with visitors or processes, again and again."""
    first: dict[App, str] = {}
    while True:
        await trio.sleep(LOOK)
        world.figures["looks"] += 1
        core, now = world.core, trio.current_time()
        if core is None or now - world.core_since < SETTLED:
            first.clear()
            continue
        linked = all(gateway.up and now - gateway.up_since > SETTLED for gateway in world.gateways)
        for app in list(world.stirring):
            _look_at_line(world, app, first)
            again = app.counted < app.touched or now - app.counted > RECOUNT
            if linked and again and now - app.touched > SETTLED:
                _look_at_seats(world, app)
                app.counted = now
            _look_at_draining(world, app)
            if not app.visitors and _look_at_rest(world, app):
                del world.stirring[app]


def _look_at_line(world: World, app: App, first: dict[App, str]) -> None:
    """Nobody stays first in line from one look to the next while a seat is free for them."""
    assert world.core is not None
    keeper = world.core.keeper(app)
    place = keeper.line.first() if keeper.line.waiting() else None
    was = first.pop(app, None)
    if place is None:
        return
    loads = [keeper.load(worker) for worker in keeper.serving()]
    free = [x for x in loads if not x.busy and x.taken < keeper.scaling.sessions_each]
    if free:
        first[app] = place.key
        if was == place.key:
            world.broke(app, f"{place.visitor} waits for {LOOK} s while {free} have room")


def _look_at_seats(world: World, app: App) -> None:
    """The core knows exactly the sessions that there are."""
    assert world.core is not None
    keeper = world.core.keeper(app)
    known = {seat.name for seat in keeper.seats if seat.hold is Hold.OPEN}
    there = {session.seat for process in app.processes.values() for session in process.sessions}
    if known != there:
        world.broke(app, f"the core is wrong of seats {known - there}, and has not {there - known}")


def _look_at_draining(world: World, app: App) -> None:
    """A draining process ends when its last seat is free."""
    assert world.core is not None
    keeper, now = world.core.keeper(app), trio.current_time()
    for worker in keeper.workers:
        process = app.processes.get(worker.id)
        if process is None or process.sessions or worker.state is not State.DRAINING:
            continue
        process.drains = min(process.drains, now)
        since = now - max(process.drains, app.touched, world.core_since)
        if since > keeper.scaling.reconnect + DRAINED:
            world.broke(app, f"{worker.id} drains without a session for {since:.0f} s")


def _look_at_rest(world: World, app: App) -> bool:
    """When nobody has been there for a while, no seat is held and no idle process lives.

    Tell whether all that has been seen, so that it need not be looked at again.
    """
    assert world.core is not None
    keeper, now = world.core.keeper(app), trio.current_time()
    alone = now - max(app.quiet, world.core_since)
    held = list(keeper.seats)
    if held and alone > max(FORGOTTEN, keeper.scaling.reconnect + 5):
        world.broke(app, f"nobody has been there for {alone:.0f} s, and seats are held: {held}")
    if keeper.line and alone > FORGOTTEN + 10:
        world.broke(app, f"nobody has been there for {alone:.0f} s, and some wait in line")
    since = now - max(app.quiet, app.touched, world.core_since)
    living = len(app.processes)
    if living > keeper.scaling.least and since > keeper.scaling.idle + NOTICED:
        world.broke(app, f"{living} processes live {since:.0f} s after the last visitor")
    return min(alone, since) > keeper.scaling.idle + NOTICED + LOOK


def look_at_end(world: World, processes: Processes) -> None:
    """When everybody has gone, nothing is left but the processes that are kept."""
    assert world.core is not None
    core = world.core
    for app in world.apps.values():
        keeper = core.keeper(app)
        _look_at_seats(world, app)
        _look_at_rest(world, app)
        gone = app.replaced - {keeper.content.active_deployment}
        untold = [number for number in sorted(gone) if app.removed[number] != 1]
        if untold:
            world.broke(app, f"deployments {untold} were not told deserted once")
        kept = len(app.processes) == keeper.scaling.least
        if keeper.failure is None and not keeper.content.stopped and not kept:
            world.broke(app, f"{len(app.processes)} processes, not {keeper.scaling.least}")
    living = {run for app in world.apps.values() for run in app.processes}
    if living != set(processes.runs) or living != set(core.contents.registry.workers):
        world.broke(None, f"runs that are left: {set(processes.runs) ^ living}")
    for gateway in core.routes.gateways:
        if gateway.seats or gateway.questions:
            world.broke(None, f"the link keeps {gateway.seats} and {gateway.questions}")
