"""One unpack, install, render or tidy from queued to gone."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from functools import partial

import attrs
import trio

from supervisor.core.runs import calls
from supervisor.core.runs.calls import AGAIN, CALL_LIMIT, RECORD_LIMIT, START_LIMIT
from supervisor.core.runs.output import Output
from supervisor.core.runs.tracked import Tracked, describe, outcome
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.lifecycle import Event, State
from supervisor.model import Cause, Exit, Job, Receipt, Running

ENDING_LIMIT = 5.0  # seconds to end a process that nobody waits for any more
LAST_OUTPUT = 5.0  # seconds to read what a process wrote before it ended: its answer


@attrs.define(eq=False)
class OneShot:
    """One process that does one thing and ends.

    heard is given every byte that it writes and its stream, beside the lines in `output`. It is
    ended run_limit seconds after its start, or, where it `streams`, after the last that it wrote.
    """

    tracked: Tracked
    executor: Executor
    output: Output
    heard: Callable[[str, bytes], None] = lambda stream, data: None
    run_limit: float = 600.0
    streams: bool = False
    _patience: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    _quiet: trio.Event = attrs.field(factory=trio.Event)
    _too_slow: bool = False
    _exit: Exit | None = None

    @property
    def state(self) -> State:
        """The run's state."""
        return self.tracked.run.state

    async def live(self, job: Job) -> Exit:
        """Start the job and give how it ended. Cancelled: it stays, and the next core ends it.

        Never raises for what the process did; a refused start is an Exit with its reason. Raises
        StoreUnavailable where it could not be recorded: nothing was started then.
        """
        await self.tracked.admit()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.output.keep)
            exit_ = await self._process(job, nursery)
            self.output.close()
            nursery.cancel_scope.cancel()
        return exit_

    async def live_or_end(self, job: Job) -> Exit:
        """Live as `live` does; cancelled, the process ends as well: nobody wants what it does."""
        try:
            return await self.live(job)
        finally:
            run = self.tracked.run
            if not self.tracked.ended and run.receipt is not None:
                with trio.move_on_after(ENDING_LIMIT, shield=True):
                    await calls.stop(self.executor, run.receipt, 0.5, self.tracked.log)
                    self.tracked.move(Event.STOP, "nobody waits for it any more")
                    self._end(Exit(cause=Cause.STOPPED))

    async def _process(self, job: Job, nursery: trio.Nursery) -> Exit:
        try:
            with trio.fail_after(START_LIMIT):
                receipt = await self.executor.start(job)
        except SupervisorError as error:
            return self._end(Exit(cause=Cause.FAILED, detail=error.message))
        except trio.TooSlowError:
            return self._end(Exit(cause=Cause.FAILED, detail=f"no answer in {START_LIMIT:.0f} s"))
        self.tracked.note(receipt=receipt)
        nursery.start_soon(self._read_output, receipt)
        nursery.start_soon(self._limit, receipt)
        while True:
            try:
                return await self._watch(receipt)
            except SupervisorError as error:
                if self._exit is not None:
                    return self._exit
                self.tracked.log.warning(
                    "watch-failed", run=self.tracked.run.id, error=error.message
                )
                await trio.sleep(AGAIN)

    async def _watch(self, receipt: Receipt) -> Exit:
        async with aclosing(self.executor.watch(receipt)) as observations:
            async for seen in observations:
                if isinstance(seen, Exit):
                    with trio.move_on_after(LAST_OUTPUT):
                        await self._quiet.wait()
                    self._end(seen)
                    await self.tracked.journal.flush(RECORD_LIMIT)
                    with trio.move_on_after(CALL_LIMIT):
                        async for _ in observations:  # it may forget the run now
                            pass
                    return seen
                if isinstance(seen, Running) and self.state is State.STARTING:
                    self.tracked.move(Event.RUNNING, started=self.tracked.clock())
        return self._end(Exit(cause=Cause.LOST, detail="the executor lost sight of it"))

    def _end(self, exit_: Exit) -> Exit:
        self._exit = exit_
        event = outcome(self.state, exit_, too_slow=self._too_slow)
        late = f"{self._lateness}: " if self._too_slow else ""
        self.tracked.move(event, f"{late}{describe(exit_)}", exit=exit_)
        return exit_

    async def _limit(self, receipt: Receipt) -> None:
        self._go_on()
        with self._patience:
            await trio.sleep_forever()
        if self._exit is not None:
            return
        self._too_slow = True
        self.tracked.move(Event.TOO_SLOW, self._lateness)
        stuck = partial(self.tracked.unkillable, self.executor)
        await calls.stop(self.executor, receipt, 1.0, self.tracked.log, stuck)

    async def _read_output(self, receipt: Receipt) -> None:
        try:
            await calls.read_output(self.executor, receipt, self.output, self._hear)
        finally:
            self._quiet.set()

    def _hear(self, stream: str, data: bytes) -> None:
        if self.streams:
            self._go_on()
        self.heard(stream, data)

    def _go_on(self) -> None:
        self._patience.deadline = trio.current_time() + self.run_limit

    @property
    def _lateness(self) -> str:
        limit = f"{self.run_limit:.0f} s"
        return f"nothing came for {limit}" if self.streams else f"not done after {limit}"
