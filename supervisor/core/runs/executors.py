"""The executors of this core, each in a task of its own: there, or away without harm to others."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import attrs
import trio

from supervisor.core.runs.guarded import Guarded
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor, Finding
from supervisor.log import Log
from supervisor.model import Purpose

FIRST_LIMIT = 10.0  # seconds for executors to come, or to fail; visitors of all others wait too
CHECK_LIMIT = 20.0  # seconds for an executor to look at its host
RETRY_FIRST, RETRY_MOST = 0.2, 5.0
PATIENCE = 5.0  # seconds that a start waits for an executor that is away


@attrs.define(eq=False)
class Presence:
    """Whether an executor is there. trouble: why not, or ""; guarded: how others call it.

    told: set once it has come or failed.
    """

    executor: Executor
    trouble: str = "it has not answered since the core was started"
    since: float = attrs.field(factory=time.time)
    here: trio.Event = attrs.field(factory=trio.Event)
    told: trio.Event = attrs.field(factory=trio.Event)
    guarded: Guarded = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.guarded = Guarded(self.executor, lambda: self.words)

    def comes(self) -> None:
        """Be told that it can be used."""
        self.trouble = ""
        self.here.set()
        self.told.set()

    def leaves(self, trouble: str) -> None:
        """Be told that it cannot."""
        if not self.trouble:
            self.since = time.time()
        self.trouble = trouble
        if self.here.is_set():
            self.here = trio.Event()
        self.guarded.interrupt()
        self.told.set()

    @property
    def words(self) -> str:
        """Say that it is away and why; "" while it is there."""
        if not self.trouble:
            return ""
        return f"the executor {self.executor.name!r} is away: {self.trouble}"


@attrs.define(eq=False)
class Executors:
    """Serve all executors of a core. installed: as the plugins gave them, by name."""

    installed: Mapping[str, Executor]
    log: Log
    returned: Callable[[Executor], Awaitable[None]] | None = None
    _presences: dict[str, Presence] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._presences = {name: Presence(executor) for name, executor in self.installed.items()}

    @classmethod
    def served(cls, installed: Mapping[str, Executor], log: Log) -> Executors:
        """Make the executors of a core, or a test, where somebody else serves them all."""
        executors = cls(installed=installed, log=log)
        for presence in executors._presences.values():
            presence.comes()
        return executors

    @property
    def by_name(self) -> Mapping[str, Guarded]:
        """The executors as the core calls them."""
        return {name: presence.guarded for name, presence in self._presences.items()}

    async def serve(
        self,
        *,
        limit: float = FIRST_LIMIT,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Keep all going until cancelled; started once each has come or failed, or after `limit`.

        Those that come later, or come back, are given to `returned`, if that is set by then.
        """
        async with trio.open_nursery() as nursery:
            for presence in self._presences.values():
                nursery.start_soon(self._serve, presence)
            with trio.move_on_after(limit):
                for presence in self._presences.values():
                    await presence.told.wait()
            for presence in self._presences.values():
                if presence.trouble:
                    self.log.error("gone-on-without-executor", reason=presence.words)
            task_status.started()

    def away(self, name: str) -> str:
        """Say that an executor is away and why; "" while it is there, or where nobody knows it."""
        presence = self._presences.get(name)
        return presence.words if presence is not None else ""

    async def wait_for(self, executor: Executor) -> None:
        """Return once it is there; raises executor-away after PATIENCE, before a run is made."""
        presence = self._presences.get(executor.name)
        if presence is None:
            return
        with trio.move_on_after(PATIENCE):
            await presence.here.wait()
            return
        raise presence.guarded.error()

    def findings(self) -> list[Finding]:
        """Give a line for each executor that is away."""
        found = []
        for name, presence in self._presences.items():
            if presence.trouble:
                minutes = (time.time() - presence.since) / 60
                text = f"away for {minutes:.0f} min: {presence.trouble}"
                fix = "the service log has the details; it is tried again all the time"
                found.append(Finding(name=f"executor {name}", ok=False, text=text, fix=fix))
        return found

    async def check(self) -> list[Finding]:
        """Give what each executor says of itself, and a line for each that is away or silent."""
        found = self.findings()
        for name, executor in self.by_name.items():
            if self.away(name):
                continue
            try:
                with trio.fail_after(CHECK_LIMIT):
                    found += await executor.check()
            except (SupervisorError, trio.TooSlowError) as error:
                text = str(error) or f"no answer in {CHECK_LIMIT:.0f} s"
                found.append(Finding(name=name, ok=False, text=text))
        return found

    async def _serve(self, presence: Presence) -> None:
        executor, pause = presence.executor, RETRY_FIRST
        while True:
            try:
                async with trio.open_nursery() as nursery:
                    await nursery.start(_serve, executor)
                    pause = RETRY_FIRST
                    presence.comes()
                    if self.returned is not None:
                        self.log.info("executor-there", executor=executor.name)
                        nursery.start_soon(self.returned, presence.guarded)
                trouble = "its task ended"
            except Exception as error:
                trouble = _reason(error)
                self.log.debug("executor-failed", executor=executor.name, exc=error)
            if trouble != presence.trouble:
                self.log.error("executor-away", executor=executor.name, reason=trouble)
            presence.leaves(trouble)
            await trio.sleep(pause)
            pause = min(RETRY_MOST, pause * 2)


def default_of(name: str, installed: Mapping[str, Executor]) -> str | None:
    """Check the executor that Applications.Executor names; None where it names none.

    Raises SupervisorError("no-executor") where it is not installed or cannot serve.
    """
    if not name:
        return None
    executor = installed.get(name)
    if executor is not None and Purpose.SERVE in executor.capabilities.purposes:
        return name
    known = ", ".join(sorted(installed)) or "none"
    problem = "is not installed" if executor is None else "cannot run applications"
    raise SupervisorError(
        "no-executor",
        f"the executor {name!r} of Applications.Executor {problem}",
        hint=f"Installed executors: {known}.",
    )


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, SupervisorError):
        return error.message
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _serve(executor: Executor, *, task_status: trio.TaskStatus[None]) -> None:
    await executor.serve(task_status=task_status)
