"""The interpreters of this host, as the runtimes find them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import attrs
import trio

from supervisor.core.runs.asking import ask
from supervisor.errors import SupervisorError
from supervisor.interfaces import Detected, Installation, Runtime
from supervisor.log import Log
from supervisor.model import Deployment
from supervisor.plugins.loading import Plugins

LOOK_LIMIT = 60.0  # seconds for one runtime: it may start each interpreter

Section = Mapping[str, Sequence[str]]


@attrs.define(eq=False, kw_only=True)
class Installations:
    """What is there. found: per runtime, best first; wanted: set by whoever needs to know."""

    plugins: Plugins
    log: Log
    found: dict[str, Sequence[Installation]] = attrs.field(factory=dict)
    wanted: trio.Event = attrs.field(factory=trio.Event)
    looked: trio.Event = attrs.field(factory=trio.Event)

    async def look(self, sections: Callable[[str], Section]) -> None:
        """Once somebody wants to know, ask every runtime what this host has.

        Takes as long as starting each interpreter: plans wait for it, nobody else does. A runtime
        that fails or hangs has none and is blamed.
        """
        await self.wanted.wait()
        async with trio.open_nursery() as nursery:
            for name, runtime in self.plugins.runtimes.items():
                nursery.start_soon(self._ask, name, runtime, sections(name))
        self.looked.set()

    async def choose(self, detected: Detected) -> Installation:
        """Choose the interpreter for what was detected: the best that the host has."""
        for installation in await self._of_runtime(detected.runtime):
            return installation
        raise SupervisorError(
            "runtime-missing",
            f"this host has no interpreter for {detected.app_mode} (runtime {detected.runtime!r})",
            hint="Install one, or name it in the runtime's Executable setting; "
            "`supervisor doctor` shows what was found.",
        )

    async def of(self, deployment: Deployment) -> Installation:
        """Give the interpreter that something was deployed with, else the best that is left."""
        installed = await self._of_runtime(deployment.runtime)
        for installation in installed:
            if installation.executable == deployment.installation:
                return installation
        for installation in installed:
            return installation
        raise SupervisorError(
            "runtime-missing",
            f"{deployment.installation}, which this content was deployed with, is not installed",
            hint="Install it again, or deploy the content anew.",
        )

    async def known(self) -> None:
        """Wait until it is known what this host has."""
        self.wanted.set()
        await self.looked.wait()

    async def _of_runtime(self, name: str) -> Sequence[Installation]:
        await self.known()
        return self.found.get(name, ())

    async def _ask(self, name: str, runtime: Runtime, section: Section) -> None:
        try:
            self.found[name] = await ask(
                name, partial(runtime.installations, section), limit=LOOK_LIMIT
            )
        except SupervisorError as error:
            self.log.error("installations-unknown", runtime=name, error=error.message)
            self.found[name] = ()
