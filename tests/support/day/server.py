"""The parts of a simulated server that live and die: one core after the other, and gateways."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Awaitable, Callable, Iterator

import attrs
import trio

from supervisor.errors import SupervisorError
from tests.support.day.core import Core, Ledger, new_core
from tests.support.day.gateway import DayGateway
from tests.support.day.processes import Processes
from tests.support.day.world import App, World


@attrs.define(eq=False)
class Server:
    """Start and end parts of a server. path: where `listener` is bound."""

    world: World
    ledger: Ledger
    processes: Processes
    listener: socket.socket
    path: str
    nursery: trio.Nursery
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    @property
    def core(self) -> Core:
        """The living core."""
        assert self.world.core is not None
        return self.world.core

    async def new_core(self) -> None:
        """Start a core, and wait until it serves."""
        number = next(self._numbers)
        core = new_core(self.world, self.ledger, self.processes, self.listener, number)
        await self.nursery.start(core.live, self.ledger)

    async def replace_core(self) -> None:
        """Let the core die and another come after a while; processes and gateways stay."""
        if self.world.core is None:
            return
        self.world.figures["cores that died"] += 1
        self._note("the core dies")
        core, self.world.core = self.world.core, None
        core.scope.cancel()
        for app in self.world.apps.values():
            app.waiting.clear()
        await trio.sleep(self.world.random.uniform(0.1, 3.0))
        await self.new_core()
        self._note("a new core serves")

    def new_gateway(self) -> None:
        """Start a gateway, which all new connections go to."""
        gateway = DayGateway(self.world, self.path, f"gateway-{next(self._numbers)}")
        self.world.gateways.append(gateway)
        self.nursery.start_soon(gateway.run)

    async def kill_gateway(self) -> None:
        """Let the newest gateway die with all its connections; another comes soon."""
        self.world.figures["gateways that died"] += 1
        self._note("the gateway dies")
        gateway = self.world.gateways[-1]
        gateway.die()
        await trio.sleep(self.world.random.uniform(0.05, 0.5))
        self.new_gateway()
        self.world.gateways.remove(gateway)

    async def replace_gateway(self) -> None:
        """Start another gateway; the old one serves its sessions for an hour at most."""
        self.world.figures["gateways that were replaced"] += 1
        self._note("another gateway takes over")
        old = self.world.gateways[-1]
        self.new_gateway()
        with trio.move_on_after(3600):
            while old.sessions or old.busy:  # noqa: ASYNC110
                await trio.sleep(10)
        if not old.gone:
            old.die()
            self.world.gateways.remove(old)

    async def order(self, act: Callable[[App], Awaitable[None]], app: App) -> None:
        """Let an operator act; what the core refuses is refused."""
        core = self.world.core
        if core is None or core.nursery is None:
            return
        self.world.figures[f"operators: {getattr(act, '__name__', act)}"] += 1
        core.nursery.start_soon(_refused, act, app)

    def _note(self, text: str) -> None:
        for app in self.world.apps.values():
            if app.visitors or app.processes:
                app.note(text)


async def _refused(act: Callable[[App], Awaitable[None]], app: App) -> None:
    try:
        await act(app)
    except SupervisorError as error:
        app.note(f"refused: {error.message}")
