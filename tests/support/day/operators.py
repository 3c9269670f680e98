"""The operators of a simulated day: deployments, restarts, new limits, and parts that die."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import attrs
import trio

from supervisor.core.contents.contents import Contents
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change
from supervisor.model import (
    BundleId,
    ContentId,
    Deployment,
    DeploymentId,
    Overrides,
)
from tests.support.day.processes import KILLED
from tests.support.day.world import App, World


@attrs.define(eq=False)
class Operators:
    """What people and accidents do to contents, each a method; `share` says how often."""

    world: World
    deployments: int = 0

    def deployment(self, content: ContentId) -> Deployment:
        """Make one more deployment of a content."""
        self.deployments += 1
        return Deployment(
            id=DeploymentId(self.deployments),
            content=content,
            bundle=BundleId(self.deployments),
            runtime="day",
            app_mode="day",
            entrypoint="app",
        )

    def share(self) -> dict[Callable[[App], Awaitable[None]], float]:
        """Give what may happen to a content, and how often for each hundred sessions."""
        return {
            self.deploy: 6.0,
            self.roll: 6.0,
            self.rescale: 2.0,
            self.restart: 0.3,
            self.stop: 0.3,
            self.crash: 4.0,
            self.compute: 4.0,
            self.doubt: 0.5,
            self.silence: 1.0,
        }

    async def deploy(self, app: App) -> None:
        """Publish: try the new deployment out, activate it, as Publisher does."""
        core = self.world.core
        assert core is not None
        keeper, chance = core.keeper(app), self.world.random
        deployment = self.deployment(app.number)
        broken = chance.random() < 0.1
        if broken:
            app.broken.add(deployment.id)
        await core.contents.journal.intent(Change(kind="deployment", record=deployment))
        app.note(f"deployment {deployment.id} is tried out" + (", broken" if broken else ""))
        try:
            await keeper.try_out(keeper.content, deployment)
        except SupervisorError:
            self.world.figures["deployments that failed"] += 1
            app.replaced.add(deployment.id)
            return
        async with keeper.changing:
            old, was = keeper.deployment, keeper.content
            active = attrs.evolve(
                was, active_deployment=deployment.id, stopped=False, version=was.version + 1
            )
            await core.contents.journal.intent(Change(kind="content", record=active))
            app.note(f"deployment {deployment.id} is activated")
            if old is not None:
                app.replaced.add(old.id)
            keeper.activate(active, deployment)
        self.world.figures["deployments"] += 1
        app.touch()
        if chance.random() < 0.05:
            app.broken.add(deployment.id)  # it ran once, and never again

    async def roll(self, app: App) -> None:
        """Restart without ending a session."""
        app.note("rolling restart")
        await self._contents().restart(app.guid, rolling=True)
        app.touch()

    async def rescale(self, app: App) -> None:
        """Set other limits."""
        chance = self.world.random
        most = chance.randint(1, 4)
        each = max(1, (app.scaling.sessions_each or 20) + chance.randint(-5, 5))
        wanted = attrs.evolve(
            app.scaling, least=chance.choice((0, 0, 0, 1)), most=most, sessions_each=each
        )
        app.note(f"new limits: most {most}, sessions_each {each}, least {wanted.least}")
        for process in app.processes.values():
            process.pardoned = True
        await self._contents().scale(app.guid, wanted)
        app.scaling = wanted
        app.touch()

    async def restart(self, app: App) -> None:
        """Restart at once: sessions end."""
        app.note("restart")
        await self._contents().restart(app.guid)
        app.touch()

    async def stop(self, app: App) -> None:
        """Stop a content, and start it again some minutes later."""
        app.note("stop")
        await self._contents().stop(app.guid)
        app.touch()
        await trio.sleep(self.world.random.uniform(1, 600))
        if self.world.core is not None:
            await self.restart(app)

    async def crash(self, app: App) -> None:
        """Let a process die, if there is one."""
        if app.processes:
            process = self.world.random.choice(sorted(app.processes.values(), key=lambda p: p.id))
            app.note(f"{process.id[-6:]} crashes")
            self.world.figures["crashes"] += 1
            process.dies(KILLED)

    async def compute(self, app: App) -> None:
        """Let all processes compute for a while."""
        for process in app.processes.values():
            process.compute(self.world.random.uniform(5, 120))

    async def doubt(self, app: App) -> None:
        """Let a gateway say, wrongly, that a process cannot be reached."""
        for process in app.processes.values():
            if process.answered:
                self.world.gateways[-1].say("unreachable", run=process.id, reason="a mistake")

    async def silence(self, app: App) -> None:
        """Let the gateways find that sessions have been silent for too long."""
        for process in app.processes.values():
            for session in sorted(process.sessions, key=lambda s: s.seat)[:3]:
                which = self.world.random.choice(("connection", "read"))
                app.note(f"{session.visitor} is silent")
                session.gateway.say("silent", seat=session.seat, which=which, seconds=3600)

    def _contents(self) -> Contents:
        assert self.world.core is not None
        return self.world.core.contents


def any_scaling(world: World) -> Overrides:
    """Give the limits of a content."""
    chance = world.random
    return Overrides(
        least=1 if chance.random() < 0.05 else 0,
        most=chance.choice((1, 2, 3, 3, 4)),
        sessions_each=chance.choice((1, 2, 5, 10, 20)),
        load_factor=chance.choice((0.0, 0.5, 0.5, 0.9)),
        idle=chance.choice((5.0, 60.0, 120.0, 600.0)),
        reconnect=chance.choice((0.0, 5.0, 15.0, 15.0, 30.0)),
        drain=chance.choice((0.0, 120.0, 3600.0)),
    )
