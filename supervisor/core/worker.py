"""One serving process from queued to gone, read top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

import attrs
import trio

from supervisor.core.output import Output
from supervisor.core.probe import until_ready
from supervisor.core.tracked import Tracked, describe, outcome
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.lifecycle import Event, State
from supervisor.model import (
    Cause,
    DeploymentId,
    Endpoint,
    Exit,
    Guid,
    Job,
    Ready,
    Receipt,
    RunId,
    Running,
    Scaling,
)
from supervisor.policy import Load

START_LIMIT = 60.0  # seconds for the executor to bring up the process
LAST_OUTPUT = 2.0  # seconds to read what a process wrote before it ended
CALL_LIMIT = 30.0  # seconds beyond the grace for the executor to end a process


@attrs.define(eq=False)
class Worker:
    """One process that serves a content. Everybody may look; its own task alone moves it."""

    tracked: Tracked
    guid: Guid
    deployment: DeploymentId
    executor: Executor
    output: Output
    ready_rule: Ready
    scaling: Scaling
    grace: float
    changed: Callable[[Worker], None]
    endpoint: Endpoint | None = None
    pid: int | None = None
    sockets: int = 0
    requests: int = 0
    active_at: float = attrs.field(factory=trio.current_time)
    ready_at: float | None = None
    error: SupervisorError | None = None
    ready: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    _order: trio.Event = attrs.field(factory=trio.Event)
    _event: Event = Event.STOP
    _reason: str = ""
    too_slow: bool = False
    _quiet: trio.Event = attrs.field(factory=trio.Event)
    _free: trio.Event = attrs.field(factory=trio.Event)

    @property
    def id(self) -> RunId:
        """The run's id."""
        return self.tracked.run.id

    @property
    def state(self) -> State:
        """The run's state."""
        return self.tracked.run.state

    def load(self) -> Load:
        """What policy may know of it."""
        return Load(
            run=self.id,
            ready=self.state is State.READY,
            sessions=self.sockets,
            requests=self.requests,
            idle=trio.current_time() - self.active_at,
        )

    def stop(self, reason: str, *, grace: float | None = None) -> None:
        """Order its end; returns at once. A later order with less grace hurries an earlier one."""
        if grace is not None:
            self.grace = min(self.grace, grace)
        self._reason = self._reason or reason
        self._order.set()

    def drain(self, reason: str) -> None:
        """Give it no new sessions; it ends by stop()."""
        if self.state is State.READY:
            self.tracked.move(Event.DRAIN, reason)
            self.changed(self)

    def active(self, sockets: int, requests: int) -> None:
        """Take what the gateways count of it."""
        if sockets or requests or self.sockets or self.requests:
            self.active_at = trio.current_time()
        self.sockets, self.requests = sockets, requests
        if not sockets and not requests:
            self._free.set()
            self._free = trio.Event()

    async def deserted(self) -> None:
        """Return when nobody uses it any more, or it is gone."""
        while (self.sockets or self.requests) and not self.gone.is_set():
            await self._free.wait()

    async def live(self, job: Job | None) -> None:
        """Start the job, or (None) adopt the run by its receipt; return when the process is gone.

        Cancelled: the process stays, for the next core to adopt.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.output.keep)
                exit_ = await self._process(job, nursery)
                self._end(exit_)
                self.output.say(f"[supervisor] {describe(exit_)}")
                self.output.close()
                nursery.cancel_scope.cancel()
        finally:
            self.gone.set()
            self._free.set()
            self.changed(self)

    async def _process(self, job: Job | None, nursery: trio.Nursery) -> Exit:
        if job is not None and self.state is State.QUEUED:
            await self.tracked.admit()
            self.changed(self)
        try:
            receipt = self.tracked.run.receipt
            if job is not None:
                with trio.fail_after(START_LIMIT):
                    receipt = await self.executor.start(job)
                self.tracked.note(receipt=receipt)
        except SupervisorError as error:
            self.error = error
            return Exit(code=None, cause=Cause.FAILED, detail=str(error))
        except trio.TooSlowError:
            self.too_slow = True
            return Exit(cause=Cause.FAILED, detail=f"no answer in {START_LIMIT:.0f} s")
        if receipt is None:
            return Exit(cause=Cause.LOST, detail="the core ended before it was started")
        if self.state is State.STOPPING:  # adopted while it was being stopped
            self._order.set()
        nursery.start_soon(self._read_output, receipt)
        nursery.start_soon(self._obey, receipt)
        nursery.start_soon(self._limit_start)
        exit_ = await self._watch(receipt, nursery)
        with trio.move_on_after(LAST_OUTPUT):
            await self._quiet.wait()
        return exit_

    async def _watch(self, receipt: Receipt, nursery: trio.Nursery) -> Exit:
        probing = trio.CancelScope()
        async with aclosing(self.executor.watch(receipt)) as observations:  # type: ignore[type-var]
            async for seen in observations:
                if isinstance(seen, Exit):
                    probing.cancel()
                    return seen
                if not isinstance(seen, Running):
                    self.tracked.note(reason=seen.reason)
                    continue
                self.endpoint, self.pid = seen.endpoint, seen.pid
                if self.state is State.STARTING:
                    self.tracked.move(Event.RUNNING, started=self.tracked.clock())
                if self.state is State.PROBING:
                    probing.cancel()
                    probing = trio.CancelScope()
                    nursery.start_soon(self._probe, seen, probing)
                elif self.state is State.READY and not self.ready.is_set():
                    self.ready_at = trio.current_time()
                    self.ready.set()  # adopted
                self.changed(self)
        return Exit(cause=Cause.LOST, detail="the executor lost sight of it")

    async def _probe(self, running: Running, scope: trio.CancelScope) -> None:
        with scope:
            if running.endpoint is None:
                self.stop("the executor gives no way to reach it")
                return
            await until_ready(
                running.endpoint, self.ready_rule, lambda reason: self.tracked.note(reason=reason)
            )
            if self.state is not State.PROBING:
                return
            self.tracked.move(Event.ANSWERED, ready=self.tracked.clock())
            self.active_at = self.ready_at = trio.current_time()
            self.ready.set()
            self.changed(self)

    async def _limit_start(self) -> None:
        limit = self.scaling.init or float("inf")
        with trio.move_on_after(limit):
            await self.ready.wait()
        if not self.ready.is_set() and self.state in (State.STARTING, State.PROBING):
            waits = f": {self.tracked.run.reason}" if self.tracked.run.reason else ""
            self._event, self.too_slow = Event.TOO_SLOW, True
            self.stop(f"not ready after {limit:.0f} s (InitTimeout){waits}")

    async def _obey(self, receipt: Receipt) -> None:
        await self._order.wait()
        if self.state is not State.STOPPING:
            self.tracked.move(self._event, self._reason)
        self.changed(self)
        try:
            with trio.fail_after(self.grace + CALL_LIMIT):
                await self.executor.stop(receipt, self.grace)
        except (SupervisorError, trio.TooSlowError) as error:
            self.tracked.log.error("stop-failed", run=self.id, error=str(error))

    async def _read_output(self, receipt: Receipt) -> None:
        try:
            if self.executor.capabilities.output:
                async with aclosing(self.executor.output(receipt)) as chunks:  # type: ignore[type-var]
                    async for chunk in chunks:
                        self.output.write(chunk.stream, chunk.data)
        except SupervisorError as error:
            self.output.say(f"[supervisor] its output cannot be read: {error.message}")
        finally:
            self._quiet.set()

    def _end(self, exit_: Exit) -> None:
        event = outcome(self.state, exit_, too_slow=self.too_slow)
        asked = self.state is State.STOPPING
        reason = self._reason if asked and event is not Event.VANISHED else describe(exit_)
        if self.state is State.STARTING and event is Event.ENDED_WELL:
            reason = f"{reason} before it listened"
        self.tracked.move(event, reason, exit=exit_)
