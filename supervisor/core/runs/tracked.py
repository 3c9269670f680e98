"""A run whose state moves by the table alone and is journalled at each move."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import attrs

from supervisor.core.storage.journal import Journal
from supervisor.interfaces import Change, Executor, Lifetime
from supervisor.lifecycle import ENDS, Event, Shape, State, advance
from supervisor.log import Log
from supervisor.model import Cause, Exit, Purpose, Run, Transition

SHAPES = {Purpose.SERVE: Shape.SERVING, Purpose.CUSTOMIZE: Shape.SERVING}

UNKILLABLE = "unkillable: it was killed and does not end; it may be waiting for storage"


@attrs.define(eq=False)
class Tracked:
    """Holds the newest version of one run. Only one task may move it.

    moved: is told each move, with the state before it; must not raise. waits: what its executor
    said last that it waits for. stuck: it does not end.
    """

    run: Run
    journal: Journal
    log: Log
    clock: Callable[[], float] = time.time
    moved: Callable[[Run, State], None] = lambda run, was: None
    waits: str = ""
    stuck: bool = False

    @property
    def shape(self) -> Shape:
        """Which transition table holds for it."""
        return SHAPES.get(self.run.purpose, Shape.ONE_SHOT)

    @property
    def ended(self) -> bool:
        """Whether its state is an end."""
        return self.run.state in ENDS

    async def admit(self) -> None:
        """Move from QUEUED to STARTING; returns once that is durable: nothing starts unrecorded."""
        changes = self._advance(Event.ADMITTED, "", {})
        await self.journal.intent(*changes)

    def move(self, event: Event, reason: str = "", **fields: Any) -> State:
        """Take an event, give the new state; raises ImpossibleTransition where there is none."""
        for change in self._advance(event, reason, fields):
            self.journal.fact(change)
        return self.run.state

    def note(self, **fields: Any) -> None:
        """Record something that is no transition: a receipt, what it waits for."""
        self.run = attrs.evolve(self.run, version=self.run.version + 1, **fields)
        self.journal.fact(Change(kind="run", record=self.run))

    def pending(self, reason: str) -> None:
        """Record what its executor says that it waits for."""
        self.waits = reason
        self.note(reason=reason)

    def unkillable(self, executor: Executor) -> None:
        """Tell that it was killed and does not end; its place is free all the same."""
        if self.stuck:
            return
        self.stuck, reason = True, UNKILLABLE
        if executor.capabilities.lifetime is Lifetime.REMOTE:  # nobody here has killed anything
            waits = f": {self.waits}" if self.waits else ""
            reason = f"told to end, but the executor {executor.name!r} has it still{waits}"
        run, content = self.run.id, self.run.content
        self.log.error("run-unkillable", run=run, content=content, reason=reason)
        self.note(reason=reason)

    def _advance(self, event: Event, reason: str, fields: dict[str, Any]) -> list[Change]:
        was, now = self.run.state, advance(self.shape, self.run.state, event)
        if event is Event.RUNNING:
            self.waits = ""
        at = self.clock()
        if now in ENDS:
            fields.setdefault("ended", at)
        self.run = attrs.evolve(
            self.run, state=now, reason=reason, version=self.run.version + 1, **fields
        )
        transition = Transition(
            run=self.run.id,
            content=self.run.content,
            was=was.value,
            now=now.value,
            event=event.value,
            reason=reason,
            at=at,
        )
        self.log.info(
            f"run-{now.value}",
            run=self.run.id,
            content=self.run.content,
            purpose=self.run.purpose.value,
            **({"reason": reason} if reason else {}),
        )
        self.moved(self.run, was)
        return [
            Change(kind="run", record=self.run),
            Change(kind="transition", record=transition),
        ]


def outcome(state: State, exit_: Exit, *, too_slow: bool) -> Event:
    """Give the event that an exit is, for a run in `state`."""
    if exit_.cause is Cause.LOST:
        return Event.VANISHED
    if state is State.STOPPING:
        return Event.ENDED_BADLY if too_slow else Event.ENDED_WELL
    return Event.ENDED_WELL if exit_.code == 0 else Event.ENDED_BADLY


def describe(exit_: Exit) -> str:
    """Say in a few words how a process ended, for `ps`, the log and the failed page."""
    if exit_.cause is Cause.LOST:
        return exit_.detail or "it was gone when we looked"
    if exit_.cause is Cause.MEMORY:
        return exit_.detail or "it used more memory than its limit"
    if exit_.signal is not None:
        try:
            name = f" ({signal.Signals(exit_.signal).name})"
        except ValueError:
            name = ""
        text = f"ended by signal {exit_.signal}{name}"
    elif exit_.code is None:
        return exit_.detail or "it could not be started"
    else:
        text = f"ended with status {exit_.code}"
    return f"{text}: {exit_.detail}" if exit_.detail else text
