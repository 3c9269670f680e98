"""Who may have a seat of one content, and where: decided here alone, one visitor at a time.

The rules are in docs/design/sessions.md. Seats are granted without a moment between looking and
granting, so races cannot give one away twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import attrs
import trio

from supervisor import policy
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.crew import Crew
from supervisor.core.scheduling.line import PATIENCE, Place
from supervisor.core.scheduling.seats import CALLED, FIRM, FOREVER
from supervisor.core.scheduling.verdict import Answer, Verdict
from supervisor.lifecycle import State
from supervisor.model import RunId

PAGE_WAIT = 0.3  # seconds for which a page waits for its turn: two looks at a pulse
LOOK = 20.0  # seconds after which a waiting page is answered, changed or not
LAST_TRY = 5.0  # seconds over InitTimeout for which a WebSocket waits for a seat
TELL_EACH = 0.005  # seconds between two rounds of news for each who waits: a round costs them all
ENDLESS = 60.0  # seconds that stand for an InitTimeout of 0, as for every request

_HOPEFUL = (Verdict.WORKER, Verdict.STARTING)


@attrs.define(eq=False)
class Admission:
    """The seats and the line of one content. `serve` is the task that lets in."""

    crew: Crew
    _wake: trio.Event = attrs.field(factory=trio.Event)
    _looks_at: float = FOREVER  # when `serve` looks by itself
    _seen: int = -1  # the moves of the line that it has seen; -1 while it looks

    # -- the four ways to ask -----------------------------------------------------------------

    async def page(self, visitor: str, pinned: RunId | None) -> Answer:
        """Reserve a seat for a visitor who opens the content, or give a place in line."""
        self.crew.want()
        worker = self._promised(visitor, pinned)
        if worker is not None:
            return self._reserve(visitor, worker)
        answer = self.crew.now()
        if answer.verdict not in _HOPEFUL:
            return answer
        place = self.crew.line.join(visitor, visitor, trio.current_time())
        place.pinned, place.passed = pinned, False
        with self._listening(place):
            if not place.granted:
                with trio.move_on_after(PAGE_WAIT if self.crew.serving() else 0.0):
                    while not (place.granted or place.passed) and self.crew.line.holds(place):
                        await place.news.wait()
        return self._told(place)

    async def wait(self, visitor: str) -> Answer:
        """Answer a page that waits once there is something new, or after LOOK seconds.

        Cancelled: the page is gone, and takes no turn.
        """
        self.crew.want()
        worker = self._promised(visitor, None)
        if worker is not None:
            return Answer(verdict=Verdict.WORKER, worker=worker)
        place = self.crew.line.join(visitor, visitor, trio.current_time(), comes_back=True)
        before = place.told
        try:
            with self._listening(place), trio.move_on_after(LOOK):
                while self._told(place) == before:
                    await place.news.wait()
        except trio.Cancelled:
            self.crew.line.closed(place)
            raise
        return self._told(place)

    async def socket(self, seat: str, visitor: str, pinned: RunId | None) -> Answer:
        """Take the seat for a session, where it was promised or where there is room.

        Cancelled: nothing is taken.
        """
        self.crew.want()
        worker = self._returning(visitor, pinned)
        if worker is not None:
            self.opened(seat, worker.id, visitor, trio.current_time())
            return Answer(verdict=Verdict.WORKER, worker=worker)
        place = self.crew.line.join(seat, visitor, trio.current_time())
        place.seat, place.pinned = seat, pinned
        limit = (self.crew.scaling.init or ENDLESS) + LAST_TRY
        try:
            with self._listening(place), trio.move_on_after(limit):
                while place.granted is None:
                    answer = self.crew.now()
                    if answer.verdict not in _HOPEFUL:
                        return answer
                    if not self._can_ever(place):
                        break
                    await place.news.wait()
        except trio.Cancelled:
            if place.granted is not None:  # at this very moment
                self.crew.seats.drop(seat)
                self._freed()
            raise
        finally:
            self.crew.line.leave(place)
        worker = self.crew.find(place.granted)
        if worker is None:
            self.crew.seats.drop(seat)
            return Answer(verdict=Verdict.FULL)
        return Answer(verdict=Verdict.WORKER, worker=worker)

    async def request(self, pinned: RunId | None) -> Answer:
        """Give a worker for a plain request, which takes no seat; wait while one is starting."""
        worker = self.crew.find(pinned)
        if worker is not None:
            return Answer(verdict=Verdict.WORKER, worker=worker)
        self.crew.want()
        while True:
            answer = self.crew.now()
            if answer.verdict is not Verdict.STARTING:
                return answer
            self.crew.want()
            await self.crew.news()

    def opened(self, seat: str, run: RunId, visitor: str, since: float) -> None:
        """Take a seat: granted just now, or by an earlier core, or by a pin while none lived."""
        self.crew.seats.take(seat, run, visitor, since)
        self.crew.wake()  # that may be one too many for the load factor
        if self.crew.line:
            self.wake()  # whoever waits for the last seat waits in vain now

    def left(self, seat: str, keep: float) -> None:
        """Learn that a session's connection has ended."""
        held = self.crew.seats.get(seat)
        worker = self.crew.find(held.run) if held is not None else None
        if worker is not None:
            worker.active_at = trio.current_time()
        self.crew.seats.leave(seat, trio.current_time(), keep)
        self._freed()

    async def is_over(self, name: str, which: str) -> bool:
        """Whether a session that was silent for its time limit is to be ended.

        Not by ConnectionTimeout while its process computes, or has declared work: somebody waits
        for the result.
        """
        seat = self.crew.seats.get(name)
        worker = self.crew.find(seat.run) if seat is not None else None
        if worker is None or which != "connection":
            return seat is not None
        await worker.look()
        return not (worker.pulse.busy or worker.work.goes_on(worker.endpoint))

    # -- the task -----------------------------------------------------------------------------

    def wake(self) -> None:
        """Look at the line again: room, a start, or the end of one may be there."""
        self._wake.set()

    async def serve(self) -> None:
        """Let in, in the order of the line, until cancelled."""
        told, again = None, float("-inf")  # what all were told last, and when they may be anew
        while True:
            now = trio.current_time()
            self.crew.line.expire(now)
            if self.crew.seats.expire(now):
                self.crew.tell()
                self.crew.wake()
            self._wake, self._seen = trio.Event(), -1  # whatever happened until now is seen below
            await self._let_in()
            standing = self._standing() if self.crew.line else None
            if standing != told and self.crew.line.waiting():
                self.crew.wake()  # they may need another process
            moment = min(self.crew.seats.next_moment(), self.crew.line.next_moment())
            if standing != told:  # each of n who wait asks again and again, which is no news to n
                now = trio.current_time()
                if now >= again:
                    self.crew.line.tell()
                    told, again = standing, now + TELL_EACH * len(self.crew.line)
                else:
                    moment = min(moment, again)
            self._looks_at, self._seen = moment, self.crew.line.moves
            with trio.move_on_at(moment):
                await self._wake.wait()

    def _standing(self) -> object:
        """Give all that decides, besides their place, what those in line are told."""
        crew, scaling = self.crew, self.crew.scaling
        loads = [crew.load(worker) for worker in crew.serving()]
        free = sum(policy.seats(scaling, load) for load in loads)
        left = sum(max(0, scaling.sessions_each - load.held) for load in loads)
        staying, verdict = crew.line.staying(), crew.now().verdict
        return crew.line.changes, staying, verdict, crew.coming(), scaling, free, left

    def _freed(self) -> None:
        """Tell whoever waits for the end of sessions, and look who may come in."""
        self.crew.tell()
        self.crew.wake()
        self.wake()

    async def _let_in(self) -> None:
        while (place := self.crew.line.first()) is not None:
            worker = await self._find(place)
            if not self.crew.line.holds(place):
                continue  # it has left while we asked for a pulse
            if worker is None:
                self.crew.line.passed()
                return
            self._admit(place, worker)
            place.tell()

    def _admit(self, place: Place, worker: Worker) -> None:
        """Give whoever is first in line a seat there."""
        now = trio.current_time()
        self.crew.line.leave(place)
        place.granted = worker.id
        if place.seat is not None:
            self.opened(place.seat, worker.id, place.visitor, now)
        else:
            firm = CALLED if place.comes_back else FIRM
            self._promise(place.visitor, worker, now, firm=firm)

    async def _find(self, place: Place) -> Worker | None:
        """Give where whoever is first in line may go now. No await follows the last look.

        Each worker is looked at once at most, so that this ends whatever the looks give.
        """
        looked: set[RunId] = set()
        while self.crew.line.holds(place):
            worker = self._choose(place)
            if worker is None or self._is_known(worker) or worker.id in looked:
                return worker
            looked.add(worker.id)
            await worker.look()
        return None

    def _choose(self, place: Place) -> Worker | None:
        workers = {worker.id: worker for worker in self.crew.serving()}
        scaling, coming = self.crew.scaling, bool(self.crew.coming())
        loads = [self.crew.load(worker) for worker in workers.values()]
        # A WebSocket belongs where its page came from; a new page goes where most room is.
        own = [load for load in loads if place.seat and load.run == place.pinned]
        run = policy.choose(scaling, own) or policy.choose(scaling, loads, coming=coming)
        return None if run is None else workers[run]

    def _is_known(self, worker: Worker) -> bool:
        """Whether it is known if it computes: one without sessions does not."""
        return not self.crew.seats.held(worker.id) or worker.pulse.known

    # -- looks, without a moment in between ----------------------------------------------------

    def _promised(self, visitor: str, pinned: RunId | None) -> Worker | None:
        """Give the worker in which a seat waits for this visitor: called, loaded, or just left."""
        seats, scaling = self.crew.seats, self.crew.scaling
        promised = seats.reservation(visitor)
        for worker in self.crew.serving():
            room = seats.is_firm(visitor) or seats.taken(worker.id) < scaling.sessions_each
            if worker.id == promised and room:
                return worker
            if worker.id == pinned and seats.lost(visitor, worker.id):
                return worker
        return None

    def _returning(self, visitor: str, pinned: RunId | None) -> Worker | None:
        """Give the worker that a WebSocket belongs to, if its seat or one beside it is free."""
        worker = self._promised(visitor, pinned)
        if worker is not None:
            return worker
        worker = self.crew.find(pinned)
        if worker is None:
            return None
        if self.crew.seats.lost(visitor, worker.id):
            return worker
        room = self.crew.seats.taken(worker.id) < self.crew.scaling.sessions_each
        # A page of a process that drains may still open its session; else the line comes first.
        if room and (worker.state is State.DRAINING or not self.crew.line.waiting()):
            return worker
        return None

    def _reserve(self, visitor: str, worker: Worker) -> Answer:
        now = trio.current_time()
        self.crew.seats.give_up(visitor, worker.id)
        self._promise(visitor, worker, now, firm=FIRM)
        return Answer(verdict=Verdict.WORKER, worker=worker)

    def _promise(self, visitor: str, worker: Worker, now: float, *, firm: float) -> None:
        self.crew.seats.reserve(visitor, worker.id, now, firm=firm)
        if self.crew.seats.next_moment() < self._looks_at:
            self.wake()

    def _told(self, place: Place) -> Answer:
        """Give what a waiting page is to be told now, and note it."""
        answer = self.crew.now()
        if place.granted is not None:
            worker = self.crew.find(place.granted)
            answer = Answer(verdict=Verdict.WORKER, worker=worker)
            if worker is None:
                answer = Answer(verdict=Verdict.STARTING)
        elif answer.verdict in _HOPEFUL:
            answer = self._in_line(place)
        else:
            self.crew.line.leave(place)
        place.told = answer
        return answer

    def _in_line(self, place: Place) -> Answer:
        """Say "starting" where a seat comes with what is being started, else the position."""
        position = self.crew.line.position(place)
        scaling, coming = self.crew.scaling, self.crew.coming()
        free = sum(policy.seats(scaling, self.crew.load(w)) for w in self.crew.serving())
        if coming and position <= free + coming * scaling.sessions_each:
            return Answer(verdict=Verdict.STARTING)
        return Answer(verdict=Verdict.QUEUED, position=position)

    def _can_ever(self, place: Place) -> bool:
        """Whether a WebSocket may get a seat without anybody's leaving: else it is refused."""
        each = self.crew.scaling.sessions_each
        free = sum(max(0, each - self.crew.seats.held(w.id)) for w in self.crew.serving())
        return self.crew.line.position(place) <= free + self.crew.coming() * each

    @contextmanager
    def _listening(self, place: Place) -> Iterator[None]:
        """Take part in the line; whoever is first goes in at once where nobody has to be asked."""
        line = self.crew.line
        line.listens(place, +1)
        worker = self._choose(place) if line.first() is place else None
        if worker is not None and self._is_known(worker):
            self._admit(place, worker)
        elif worker is not None or self._wake.is_set() or self._seen != line.moves:
            self.wake()
        else:
            place.passed = place.seat is None  # nothing is new since somebody looked
        try:
            yield
        finally:
            line.listens(place, -1)
            place.seen = trio.current_time()
            if line.holds(place) and not place.listening and place.seen + PATIENCE < self._looks_at:
                self.wake()  # from now on it may be lost
