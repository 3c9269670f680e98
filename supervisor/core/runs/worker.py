"""One serving process from queued to gone, read top to bottom."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, suppress
from functools import partial

import attrs
import trio

from supervisor.core.runs import calls, declared
from supervisor.core.runs.calls import AGAIN, CALL_LIMIT, RECORD_LIMIT, START_LIMIT
from supervisor.core.runs.limiting import Given
from supervisor.core.runs.missing import Missing
from supervisor.core.runs.output import Output
from supervisor.core.runs.probe import answers, gone_deaf, until_ready
from supervisor.core.runs.pulse import Pulse
from supervisor.core.runs.tracked import Tracked, describe, outcome
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
    Pending,
    Ready,
    Receipt,
    RunId,
    Running,
    Scaling,
)
from supervisor.policy import Load

LAST_OUTPUT = 2.0  # seconds to read what a process wrote before it ended
LOOK_LIMIT = 5.0  # seconds to look for what a failed start has left


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
    missing: Missing
    given: Given = Given()
    work: declared.Work = attrs.field(factory=declared.Work)
    endpoint: Endpoint | None = None
    pid: int | None = None
    sockets: int = 0
    requests: int = 0
    active_at: float = attrs.field(factory=trio.current_time)
    ready_at: float | None = None
    error: SupervisorError | None = None
    ready: trio.Event = attrs.field(factory=trio.Event)
    gone: trio.Event = attrs.field(factory=trio.Event)
    settled: trio.Event = attrs.field(factory=trio.Event)  # ready or gone
    exit: Exit | None = None
    adopted: bool = False  # an earlier core started it
    too_slow: bool = False
    ends_at: float | None = None
    drained: float = 0.0  # seconds for which it drained under earlier cores
    pulse: Pulse = attrs.field(init=False)
    _nursery: trio.Nursery | None = None
    _doubted: trio.Event = attrs.field(factory=trio.Event)
    _order: trio.Event = attrs.field(factory=trio.Event)
    _hurry: trio.Event = attrs.field(factory=trio.Event)
    _event: Event = Event.STOP
    _reason: str = ""
    _probing: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _quiet: trio.Event = attrs.field(factory=trio.Event)
    _free: trio.Event = attrs.field(factory=trio.Event)

    def __attrs_post_init__(self) -> None:
        self.pulse = Pulse(changed=lambda: self.changed(self))

    @property
    def id(self) -> RunId:
        """The run's id."""
        return self.tracked.run.id

    @property
    def state(self) -> State:
        """The run's state."""
        return self.tracked.run.state

    @property
    def takes_visitors(self) -> bool:
        """Whether new visitors may go there: it is ready, where is known, and nobody doubts it."""
        known = self.ready.is_set() and self.exit is None and not self._doubted.is_set()
        return known and self.state is State.READY

    def load(self, *, taken: int = 0, held: int = 0) -> Load:
        """What policy may know of it; seats are its keeper's to count."""
        idle = trio.current_time() - self.active_at
        return Load(
            run=self.id, ready=self.takes_visitors, taken=taken, held=held,
            requests=self.requests, idle=idle, busy=self.pulse.busy,
        )  # fmt: skip

    def stop(self, reason: str, *, grace: float | None = None) -> None:
        """Order its end; returns at once. A later order with less grace hurries an earlier one."""
        if grace is not None and grace < self.grace:
            self.grace = grace
            self._hurry.set()
        self._reason = self._reason or reason
        self._order.set()

    @property
    def ordered(self) -> bool:
        """Whether somebody ordered its end."""
        return self._order.is_set()

    @property
    def trouble(self) -> str:
        """The error code of its end, for one that did not end well."""
        if self.error is not None:
            return self.error.code
        return "start-too-slow" if self.too_slow else "start-failed"

    def doubt(self) -> None:
        """Be told that a gateway could not connect: no visitors until that is cleared up."""
        if self.state is State.READY:
            self._doubted.set()

    async def look(self) -> None:
        """Take its pulse: find out soon whether it computes."""
        if self._nursery is not None and self.endpoint is not None and self.state is State.READY:
            ask = partial(answers, self.endpoint, self.ready_rule, self.executor.connect)
            await self.pulse.look(ask, self._nursery)

    def drain(self, reason: str, *, ends_at: float | None = None) -> None:
        """Give it no new sessions; it ends by stop(), at trio's time `ends_at` at the latest."""
        if self.state is State.READY:
            self.ends_at = ends_at
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
        while self.used:
            await self._free.wait()

    @property
    def used(self) -> bool:
        """Whether anybody has a session or a request open."""
        return bool(self.sockets or self.requests) and not self.gone.is_set()

    async def live(self, job: Job | None) -> None:
        """Start the job, or (None) adopt the run by its receipt; return when the process is gone.

        Cancelled: the process stays, for the next core to adopt.
        """
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self.output.keep)
                nursery.start_soon(self.missing.watch)
                await self._process(job, nursery)
                self.output.close()
                nursery.cancel_scope.cancel()
        except Exception as error:
            await self._broke(error)
        finally:
            self.gone.set()
            self.settled.set()
            self._free.set()
            self.changed(self)

    async def _process(self, job: Job | None, nursery: trio.Nursery) -> None:
        receipt = self.tracked.run.receipt
        self.adopted = job is None
        if job is not None:
            receipt = await self._start(job)
            if receipt is None:
                return
        if receipt is None:
            self._end(Exit(cause=Cause.LOST, detail="the core ended before it was started"))
            return
        if self.state is State.STOPPING:  # adopted while it was being stopped
            self._order.set()
        nursery.start_soon(self._read_output, receipt)
        nursery.start_soon(self._obey, receipt)
        nursery.start_soon(self._limit_start)
        nursery.start_soon(self._clear_up)
        await self._watch(receipt, nursery)

    # -- its start ----------------------------------------------------------------------------

    async def _start(self, job: Job) -> Receipt | None:
        """Give the receipt; None where it was stopped before, or could not be started."""
        if self.ordered:
            self.tracked.move(Event.STOP, self._reason)
            return None
        try:
            await self.tracked.admit()
            self.changed(self)
            if self.ordered:
                self.tracked.move(Event.STOP, self._reason)
                self._end(Exit(cause=Cause.STOPPED, detail="it was never started"))
                return None
            with trio.fail_after(START_LIMIT):
                receipt = await self.executor.start(job)
        except SupervisorError as error:
            self.error = error
            if error.recoverable:
                await self._end_stray()
            self._end(Exit(cause=Cause.FAILED, detail=error.message))
            return None
        except trio.TooSlowError:
            self.too_slow = True
            await self._end_stray()
            self._end(Exit(cause=Cause.FAILED, detail=f"no answer in {START_LIMIT:.0f} s"))
            return None
        self.tracked.note(receipt=receipt)
        return receipt

    async def _end_stray(self) -> None:
        """End what a failed start may have left."""
        try:
            with trio.move_on_after(LOOK_LIMIT):
                for receipt in await self.executor.list():
                    if receipt.run == self.id:
                        await self.executor.stop(receipt, 0.0)
        except SupervisorError as error:
            self.tracked.log.warning("stray-unknown", run=self.id, error=error.message)

    async def _probe(self, running: Running, scope: trio.CancelScope) -> None:
        with scope:
            if running.endpoint is None:
                self.error = SupervisorError(
                    "start-failed", f"the executor {self.executor.name!r} gives no way to reach it"
                )
                self.stop(self.error.message)
                return
            await until_ready(
                running.endpoint,
                self.ready_rule,
                lambda reason: self.tracked.note(reason=reason),
                self.executor.connect,
            )
            if self.state is not State.PROBING:
                return
            self.tracked.move(Event.ANSWERED, ready=self.tracked.clock())
            self._serves()
            self.changed(self)

    def _serves(self) -> None:
        self.active_at = self.ready_at = trio.current_time()
        self.ready.set()
        self.settled.set()

    async def _limit_start(self) -> None:
        limit = self.scaling.init or float("inf")
        with trio.move_on_after(limit):
            await self.ready.wait()
        if self.exit is None and self.state in (State.STARTING, State.PROBING):
            waits = f": {self.tracked.run.reason}" if self.tracked.run.reason else ""
            self._event, self.too_slow = Event.TOO_SLOW, True
            self.stop(f"not ready after {limit:.0f} s (InitTimeout){waits}")

    # -- its life -----------------------------------------------------------------------------

    async def _watch(self, receipt: Receipt, nursery: trio.Nursery) -> None:
        """Follow what the executor sees until the end; while it is away, ask it again."""
        while self.exit is None:
            try:
                async with aclosing(self.executor.watch(receipt)) as observations:
                    async for seen in observations:
                        if isinstance(seen, Exit):
                            await self._ended(seen)
                            with trio.move_on_after(LAST_OUTPUT):
                                async for _ in observations:  # it may forget the run now
                                    pass
                            return
                        self._see(seen, nursery)
                await self._ended(Exit(cause=Cause.LOST, detail="the executor lost sight of it"))
                with trio.move_on_after(CALL_LIMIT):
                    await calls.stop(self.executor, receipt, 0.0, self.tracked.log)
            except SupervisorError as error:
                self.tracked.log.warning("watch-failed", run=self.id, error=error.message)
                await trio.sleep(AGAIN)

    def _see(self, seen: Pending | Running, nursery: trio.Nursery) -> None:
        if isinstance(seen, Pending):
            self.tracked.pending(seen.reason)
            return
        if self.endpoint not in (None, seen.endpoint):
            self.doubt()  # nobody has seen it answer there
        self.endpoint, self.pid = seen.endpoint, seen.pid
        if self.state is State.STARTING:
            self.tracked.move(Event.RUNNING, started=self.tracked.clock())
        if self.state is State.PROBING:
            self._probing.cancel()
            self._probing = trio.CancelScope()
            nursery.start_soon(self._probe, seen, self._probing)
        elif self.state in (State.READY, State.DRAINING) and not self.ready.is_set():
            self._serves()  # adopted
        self.changed(self)

    async def _clear_up(self) -> None:
        """Whenever it is doubted, look; end it where it does not listen any more."""
        while True:
            await self._doubted.wait()
            trouble: SupervisorError | None = None
            if self.endpoint is not None:
                trouble = await gone_deaf(self.endpoint, self.executor.connect)
            if trouble is not None:
                self.error = trouble
                self.stop(trouble.message)
                return
            self._doubted = trio.Event()
            self.changed(self)

    async def _obey(self, receipt: Receipt) -> None:
        await self._order.wait()
        if self.exit is not None:
            return
        if self.state is not State.STOPPING:
            self.tracked.move(self._event, self._reason)
        self.changed(self)
        async with trio.open_nursery() as nursery:
            while True:
                self._hurry = trio.Event()
                order = self.executor, receipt, self.grace, self.tracked.log, self._stuck
                nursery.start_soon(calls.stop, *order)
                await self._hurry.wait()

    def _stuck(self) -> None:
        self.tracked.unkillable(self.executor)
        self.changed(self)

    async def _read_output(self, receipt: Receipt) -> None:
        try:
            await calls.read_output(self.executor, receipt, self.output)
        finally:
            self._quiet.set()

    # -- its end ------------------------------------------------------------------------------

    async def _ended(self, exit_: Exit) -> None:
        """Read what it wrote last, record its end."""
        self.exit = exit_
        self._probing.cancel()
        with trio.move_on_after(LAST_OUTPUT):
            await self._quiet.wait()
            await self.missing.settle()
        self._end(exit_)
        await self.tracked.journal.flush(RECORD_LIMIT)

    def _end(self, exit_: Exit) -> None:
        self.exit = exit_
        failed = self.too_slow or self.error is not None
        event = outcome(self.state, exit_, too_slow=failed)
        asked = self.state is State.STOPPING
        reason = self._reason if asked and event is not Event.VANISHED else describe(exit_)
        if self.state is State.STARTING and event is Event.ENDED_WELL:
            reason = f"{reason} before it listened"
        if event is not Event.ENDED_WELL and self.missing.hint:
            reason = f"{reason}; {self.missing.hint}"
        self.tracked.move(event, reason, exit=exit_)
        self.output.say(f"[supervisor] {describe(exit_)}")

    async def _broke(self, error: Exception) -> None:
        """A defect, of ours or of the executor: no process may be left that nobody watches."""
        self.tracked.log.error("worker-broke", exc=error, run=self.id)
        self.error = SupervisorError("internal", f"a defect of the server: {error!r}")
        receipt = self.tracked.run.receipt
        if receipt is not None:
            with trio.move_on_after(CALL_LIMIT), suppress(Exception):
                await self.executor.stop(receipt, 0.0)
        if self.state is State.QUEUED:
            self.tracked.move(Event.STOP, self.error.message)
        elif not self.tracked.ended:
            self._end(Exit(cause=Cause.LOST, detail=self.error.message))
