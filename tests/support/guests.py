"""Browsers that stay: each loads the page, waits in line, has a session, comes back when cut off.

They visit the apps `*-counts-its-visitors`. Light enough for some hundred of them in one process.
"""

from __future__ import annotations

import html
import json
import math
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager

import attrs
import h11
import trio

from tests.support.shiny_client import Refused, Session, SessionEnded, Visitor

NAVIGATE = {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document", "Sec-Fetch-Site": "none"}
FETCH = {"Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty", "Sec-Fetch-Site": "same-origin"}
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 1.0  # seconds before another attempt, doubled each time
FAILED = (OSError, trio.BrokenResourceError, h11.RemoteProtocolError, SessionEnded)
_WAIT = re.compile(rb'data-wait="([^"]+)" data-state="(\w+)')
_BEFORE = re.compile(rb"data-before>(\d+)<")


@attrs.frozen(kw_only=True)
class Seen:
    """What the app said. computed: how often for this session; open and most: of its process."""

    process: str
    session: int
    computed: int
    open: int
    most: int
    n: int

    @classmethod
    def of(cls, text: str) -> Seen:
        """Read the app's output."""
        process, *numbers = text.split()
        session, computed, now, most, n = map(int, numbers)
        return cls(process=process, session=session, computed=computed, open=now, most=most, n=n)


@attrs.frozen(kw_only=True)
class Visit:
    """One session: the run of its pin, the process that answered, seconds until it did."""

    run: str
    process: str
    waited: float


@attrs.frozen(kw_only=True)
class Cut:
    """The end of a session that its guest did not want: when, and the close frame (1006: none)."""

    at: float
    run: str
    code: int
    reason: str


@attrs.define(eq=False)
class Guest:
    """One browser tab on one app.

    wanting: since when it wants to be served and is not, else None. places: what it was told while
    it waited, `starting` or its position in line, without repetitions. tries: its latest attempts.
    """

    visitor: Visitor
    changed: Callable[[], None] = lambda: None
    visits: list[Visit] = attrs.field(factory=list)
    cuts: list[Cut] = attrs.field(factory=list)
    places: list[str | int] = attrs.field(factory=list)
    refusals: list[str] = attrs.field(factory=list)
    tries: deque[str] = attrs.field(factory=lambda: deque(maxlen=30))
    wanting: float | None = attrs.field(factory=trio.current_time)
    seen: Seen | None = None
    session: Session | None = None
    _pauses: int = 0
    _asked: int = 0
    _leaving: bool = False
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    @property
    def run(self) -> str:
        """The run that its pin says."""
        pin = self.visitor.cookies.get("supervisor-pin")
        return pin.value.partition(".")[0] if pin else ""

    # -- its life -----------------------------------------------------------------------------

    async def stay(self) -> None:
        """Be there until it leaves."""
        with self._scope:
            while not self._leaving:
                await self._load()
                while await self._visit():
                    pass

    async def move(self, *, seconds: float = 20.0) -> float:
        """Move the slider, check that its own session answers, and give how long that took.

        Raises SessionEnded where it is cut off meanwhile, trio.TooSlowError after `seconds`,
        AssertionError where another process or session answers.
        """
        session, before = self.session, self.seen
        if session is None or before is None or not session.is_open:
            raise SessionEnded("no session is open")
        begun = time.perf_counter()
        self._asked += 1
        asked = attrs.evolve(before, computed=self._asked, n=self._asked % 50)
        with trio.fail_after(seconds):
            await session.update(n=asked.n)
            after = Seen.of(await session.value("value"))
            while after.n != asked.n:  # the answer to a move that was given up
                after = Seen.of(await session.value("value"))
        waited = time.perf_counter() - begun
        self.seen = after
        said = f"not its own session: {after} after {before}"
        # fewer than asked: a move that was given up may never have come there
        assert before.computed < after.computed <= self._asked, said
        same = attrs.evolve(asked, computed=after.computed, open=after.open, most=after.most)
        assert same == after, said
        self._asked = after.computed
        return waited

    async def leave(self) -> None:
        """Close the tab: the session ends in order."""
        self._leaving = True
        if self.session is not None:
            await self.session.close()
        self.vanish()

    def vanish(self) -> None:
        """Be gone without a word."""
        self._leaving = True
        self._scope.cancel()

    # -- its ways -----------------------------------------------------------------------------

    async def _load(self) -> None:
        """Return once the page is the app's."""
        while True:
            try:
                page = await self.visitor.get(headers=NAVIGATE)
            except FAILED as error:
                await self._again(f"page: {error!r}")
                continue
            if page.status == 200:
                return
            wait = _WAIT.search(page.body)
            if wait is not None:
                before = _BEFORE.search(page.body) if wait[2] == b"queued" else None
                self._told(int(before[1]) + 1 if before else wait[2].decode())
                await self._wait(html.unescape(wait[1].decode()))
            else:
                self.refusals.append(f"page {page.status}: {_words(page.body)}")
                await self._again(self.refusals[-1])

    async def _wait(self, path: str) -> None:
        """Ask as the waiting page does; return when it would load anew."""
        while True:
            try:
                answer = await self.visitor.get(path, accept="*/*", headers=FETCH)
            except FAILED as error:
                await self._again(f"wait: {error!r}")
                continue
            if answer.status in (204, 404, 409):
                self.tries.append(f"{trio.current_time():.2f} wait {answer.status}")
                return
            if answer.status != 200:
                await self._again(f"wait {answer.status}")
                continue
            told = json.loads(answer.body)
            if not self._told(told.get("position") or told["state"]):
                await trio.sleep(FIRST_PAUSE)

    def _told(self, place: str | int) -> bool:
        """Note what it was told; say whether that is news."""
        if [place] == self.places[-1:]:
            return False
        self.places.append(place)
        self.changed()
        return True

    async def _visit(self) -> bool:
        """Have one session until it ends; say whether the page would try once more by itself."""
        try:
            async with self.visitor.session(["value"], {"n": 1}) as session:
                self.seen = Seen.of(await session.value("value"))
                self._begin(session)
                code = await session.closed()
        except Refused as refused:
            self.refusals.append(f"socket {refused.status}")
            await self._again(str(refused)[:200])
            return False
        except FAILED as error:
            await self._again(f"socket: {error!r}")
            return True
        if not self._leaving:
            self._end(code, session.close_reason)
        return not self._leaving

    def _begin(self, session: Session) -> None:
        assert self.seen is not None
        assert self.wanting is not None
        waited = trio.current_time() - self.wanting
        self.visits.append(Visit(run=self.run, process=self.seen.process, waited=waited))
        self.tries.append(f"{trio.current_time():.2f} served by {self.run}")
        self.session, self.wanting, self._pauses, self._asked = session, None, 0, 1
        self.changed()

    def _end(self, code: int, reason: str) -> None:
        self.session, self.wanting = None, trio.current_time()
        self.cuts.append(Cut(at=self.wanting, run=self.visits[-1].run, code=code, reason=reason))
        self.tries.append(f"{self.wanting:.2f} cut off: {code} {reason}")
        self.changed()

    async def _again(self, why: str) -> None:
        self.tries.append(f"{trio.current_time():.2f} {why}")
        self._pauses += 1
        await trio.sleep(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self._pauses - 1)))


class Guests:
    """All guests of a test. Iterating gives those that have not left."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._here: list[Guest] = []
        self._news = trio.Event()

    def __iter__(self) -> Iterator[Guest]:
        return iter(self._here)

    def __len__(self) -> int:
        return len(self._here)

    def invite(self, urls: Iterable[str], *, socket: str | None = None) -> list[Guest]:
        """Let one come for each address, all at once. socket: reach it by this Unix socket."""
        guests = [Guest(Visitor(url, socket=socket), self._changed) for url in urls]
        self._here += guests
        for guest in guests:
            self._nursery.start_soon(guest.stay)
        return guests

    async def until(self, true: Callable[[], bool], seconds: float, what: str) -> float:
        """Wait until something holds about the guests; give how long that took.

        Raises AssertionError after `seconds`, with what the unserved tried.
        """
        begun = trio.current_time()
        await trio.lowlevel.checkpoint()  # who is cut off just now gets to know it
        with trio.move_on_after(seconds):
            while not true():
                await self._news.wait()
            return trio.current_time() - begun
        raise AssertionError(f"not within {seconds} s: {what}\n{self.complaints()}")

    async def served(self, seconds: float, guests: Sequence[Guest] | None = None) -> float:
        """Wait until every guest has a session; give how long that took."""
        who = self._here if guests is None else guests
        return await self.until(
            lambda: all(guest.wanting is None for guest in who), seconds, "everybody is served"
        )

    async def move(self, *, seconds: float = 20.0) -> list[float]:
        """Let everybody move the slider at once; give the seconds that each waited."""
        waits: list[float] = []

        async def one(guest: Guest) -> None:
            waits.append(await guest.move(seconds=seconds))

        async with trio.open_nursery() as nursery:
            for guest in self._here:
                nursery.start_soon(one, guest)
        return waits

    async def leave(self, guests: Iterable[Guest] | None = None) -> None:
        """Let these, or all, close their tabs."""
        going = list(self._here if guests is None else guests)
        self._here = [guest for guest in self._here if guest not in going]
        async with trio.open_nursery() as nursery:
            for guest in going:
                nursery.start_soon(guest.leave)

    def cuts(self, *, since: float = -math.inf) -> list[Cut]:
        """Every session that ended without its guest's wish, since a moment of trio's clock."""
        return [cut for guest in self._here for cut in guest.cuts if cut.at >= since]

    def complaints(self) -> str:
        """What the first few of the unserved have tried."""
        now = trio.current_time()
        unserved = [guest for guest in self._here if guest.wanting is not None]
        lines = [f"{len(unserved)} of {len(self._here)} are not served; now is {now:.2f}"]
        for guest in unserved[:4]:
            lines += [f"{guest.visitor.url} since {guest.wanting:.2f}, run {guest.run}"]
            lines += [f"  {line}" for line in list(guest.tries)[-12:]]
        return "\n".join(lines)

    def _changed(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()


@asynccontextmanager
async def guests(urls: Iterable[str] = (), *, seconds: float = 90.0) -> AsyncIterator[Guests]:
    """Let a guest come for each address; starts when all are served, and they leave at the end."""
    async with trio.open_nursery() as nursery:
        party = Guests(nursery)
        party.invite(urls)
        await party.served(seconds)
        yield party
        await party.leave()
        nursery.cancel_scope.cancel()


def _words(body: bytes) -> str:
    text = re.sub(rb"<(style|script).*?</\1>|<[^>]*>", b" ", body, flags=re.DOTALL)
    return " ".join(text.decode(errors="replace").split())[:200]
