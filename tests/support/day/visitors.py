"""The visitors of a simulated day: people with tabs, patience and bad connections, and crawlers."""

from __future__ import annotations

from typing import Any

import attrs
import trio

from supervisor.model import RunId
from tests.support.day import rules
from tests.support.day.gateway import Answer, DayGateway, GatewayGone, Session
from tests.support.day.world import App, World

BACK = 30.0  # a lost client that is away for longer gives up


@attrs.define(eq=False)
class Visitor:
    """One browser at one content, until it is gone for good. pinned: the run of its cookie."""

    world: World
    app: App
    name: str
    minutes: float = 8.0
    pinned: RunId | None = None
    tabs: int = 1

    # -- kinds ----------------------------------------------------------------------------------

    async def come(self) -> None:
        """Be a person: load the page, wait in line if need be, stay, go."""
        self.app.comes()
        try:
            if await self._enter():
                chance = self.world.random
                self.tabs = 1 if chance.random() < 0.9 else chance.choice((2, 3))
                async with trio.open_nursery() as nursery:
                    for _ in range(self.tabs):
                        nursery.start_soon(self._tab)
                        await trio.sleep(chance.uniform(0.0, 2.0) if self.tabs > 1 else 0)
        finally:
            self.app.goes()

    async def crawl(self) -> None:
        """Be a crawler or a health check: load the page, and nothing else."""
        self.app.comes()
        try:
            await self._ask("page")
            self.world.figures["crawlers"] += 1
        finally:
            self.app.goes()

    # -- the page -------------------------------------------------------------------------------

    async def _enter(self) -> bool:
        """Load the page until it is the app's; False for whoever gives up."""
        world, chance = self.world, self.world.random
        came, queued = trio.current_time(), False
        leaves_at = came + (
            chance.uniform(1, 40) if world.chance(0.1) else chance.uniform(300, 1800)
        )
        answer = await self._ask("page")
        while answer["as"] != "worker":
            waited = trio.current_time() - came
            kind = answer["as"]
            world.figures[f"told {kind}"] += 1
            if kind in ("starting", "queued"):
                queued = queued or kind == "queued"
                await trio.sleep(chance.uniform(0.05, 0.4))
                rules.waits(self.app, self.name)
                with trio.move_on_at(leaves_at) as patience:
                    answer = await self._ask("wait")
                if patience.cancelled_caught:
                    self.app.note(f"{self.name} leaves the line")
                    world.figures["left the line"] += 1
                    rules.waits_no_more(self.app, self.name)
                    return False
                if answer["as"] == "worker":
                    await trio.sleep(chance.uniform(0.01, 0.3))
                    answer = await self._ask("page")
            elif kind == "failed" and waited < 300:
                rules.waits_no_more(self.app, self.name)
                if world.chance(0.3):
                    (await self._gateway()).say("retry", content=self.app.guid)
                await trio.sleep(min(60.0, answer["retry"] or 30.0))
                answer = await self._ask("page")
            else:
                world.figures[f"gave up on {kind}"] += 1
                rules.waits_no_more(self.app, self.name)
                return False
        rules.waits_no_more(self.app, self.name)
        world.waited.append(trio.current_time() - came)
        if queued:
            world.figures["entered from the line"] += 1
        return True

    async def _ask(self, want: str, seat: str | None = None) -> Answer:
        while True:
            gateway = await self._gateway()
            try:
                answer = await gateway.ask(self.app, want, self.name, self.pinned, seat)
            except GatewayGone:
                await trio.sleep(self.world.random.uniform(0.1, 2.0))
                continue
            if answer["as"] == "worker" and want == "page":
                self.pinned = RunId(answer["run"])
                gateway.visited(self.pinned)
            return answer

    async def _gateway(self) -> DayGateway:
        """Give the gateway that accepts connections now."""
        while not self.world.gateways or self.world.gateways[-1].gone:  # noqa: ASYNC110
            await trio.sleep(0.1)
        return self.world.gateways[-1]

    # -- sessions -------------------------------------------------------------------------------

    async def _tab(self) -> None:
        """Open a session, stay, come back after what happens to it; go in the end."""
        chance = self.world.random
        until = trio.current_time() + chance.expovariate(1 / (60 * self.minutes)) + 2
        await trio.sleep(chance.choice((0.05, 0.3, 1.0, 3.0)))
        session, tries = await self._open(), 0
        while True:
            if session is None:
                tries += 1
                if tries > 5 or trio.current_time() > until or not await self._enter():
                    return
                session = await self._open()
                continue
            session = await self._stay(session, until)
            if session is None and trio.current_time() >= until:
                return

    async def _open(self, *, lost_at: float | None = None) -> Session | None:
        """Open a WebSocket; lost_at: when the session that it goes on with was lost."""
        gateway = await self._gateway()
        seat = gateway.seat_name()
        asked, process = trio.current_time(), self.app.processes.get(self.pinned or RunId(""))
        # a question's order among packets matters, so it is put at once
        try:
            answer: Any = {}
            with trio.move_on_after(self.world.random.choice((90, 90, 90, 90, 3))):
                answer = await gateway.ask(self.app, "socket", self.name, self.pinned, seat)
        except GatewayGone:
            return None
        if not answer:
            self.world.figures["a socket without an answer"] += 1
            return None
        if lost_at is not None and self.tabs == 1 and process is not None:
            rules.came_back(self.world, gateway, process, lost_at, asked, answer)
        if answer["as"] != "worker":
            self.world.figures[f"refused {answer['as']}"] += 1
            return None
        run = RunId(answer["run"])
        self.pinned = run
        session = gateway.opens(self.app, seat, self.name, run)
        if session is None:
            self.world.figures["opened too late"] += 1
            return None
        granted = answer.get("granted", True)
        rules.opened(self.world, session, granted=granted)
        self.world.figures["sessions"] += 1
        self.app.note(f"{self.name} is in {run[-6:]}" + ("" if granted else " without a grant"))
        if self.world.chance(self.app.computes):
            session.process.compute(self.world.random.uniform(1, 30))
        return session

    async def _stay(self, session: Session, until: float) -> Session | None:
        """Stay for a while; give the session to go on with, None where there is none."""
        chance = self.world.random
        leaves = min(until, trio.current_time() + chance.expovariate(1 / 900))
        with trio.move_on_at(leaves):
            await session.ended.wait()
            self.world.figures[f"ended by {session.why}"] += 1
            self.app.note(f"{self.name} was ended by {session.why}")
            if session.why == "core":
                return None  # it was told to go; it loads the page anew if it likes
            await trio.sleep(chance.uniform(0.1, 2.0))
            return await self._open()
        if trio.current_time() >= until:
            session.leave(clean=self.world.chance(0.8))
            self.app.note(f"{self.name} goes")
            return None
        if self.world.chance(0.5):  # the page is loaded anew
            session.leave(clean=True)
            self.world.figures["reloads"] += 1
            await trio.sleep(chance.uniform(0.05, 1.0))
            if not await self._enter():
                return None
            await trio.sleep(chance.uniform(0.05, 1.5))
            return await self._open()
        session.leave(clean=False)
        self.app.note(f"{self.name} is lost")
        self.world.figures["lost"] += 1
        lost_at = trio.current_time()
        await trio.sleep(chance.choice((0.2, 1.0, 5.0, 14.0, 20.0, BACK)))
        return await self._open(lost_at=lost_at)
