"""A run moves by the table, and each move is journalled."""

from __future__ import annotations

import attrs
import pytest

from supervisor.core.runs.tracked import UNKILLABLE, Tracked, describe, outcome
from supervisor.interfaces import Lifetime
from supervisor.lifecycle import Event, ImpossibleTransition, Shape, State
from supervisor.log import Log
from supervisor.model import Cause, Exit, Purpose, Run, Transition
from supervisor.testing.executors import ScriptedExecutor
from supervisor.testing.house import a_run
from supervisor.testing.journal import MemoryJournal


@pytest.fixture
def journal() -> MemoryJournal:
    return MemoryJournal(facts_wait=True)


def tracked(journal: MemoryJournal, run: Run) -> Tracked:
    return Tracked(run=run, journal=journal, log=Log("core", level="error"), clock=lambda: 5.0)


async def test_admitting_is_durable_when_it_returns(journal: MemoryJournal) -> None:
    moved = tracked(journal, a_run())
    await moved.admit()
    assert moved.run == journal.store.get("run", moved.run.id)
    assert State.STARTING is moved.run.state


async def test_a_move_is_a_fact_with_a_transition(journal: MemoryJournal) -> None:
    run = a_run(state=State.STARTING)
    moved = tracked(journal, run)
    assert State.PROBING is moved.move(Event.RUNNING, "why", started=3.0)
    assert journal.store.get("run", run.id) is None
    await journal.flush(1)
    assert moved.run == journal.store.get("run", run.id)
    assert (run.version + 1, 3.0, "why") == (
        moved.run.version,
        moved.run.started,
        moved.run.reason,
    )
    expected = Transition(
        run=run.id,
        content=run.content,
        was="starting",
        now="probing",
        event="running",
        reason="why",
        at=5.0,
    )
    assert [expected] == journal.store.transitions


def test_an_end_has_its_time(journal: MemoryJournal) -> None:
    moved = tracked(journal, a_run(state=State.READY))
    moved.move(Event.ENDED_WELL)
    assert (5.0, True) == (moved.run.ended, moved.ended)


def test_a_move_that_the_table_lacks_changes_nothing(journal: MemoryJournal) -> None:
    moved = tracked(journal, a_run(state=State.EXITED))
    before = moved.run
    with pytest.raises(ImpossibleTransition):
        moved.move(Event.STOP)
    assert (before, []) == (moved.run, journal.written)


@pytest.mark.parametrize("purpose", Purpose)
def test_only_serve_and_customize_serve(journal: MemoryJournal, purpose: Purpose) -> None:
    serves = purpose in (Purpose.SERVE, Purpose.CUSTOMIZE)
    shape = tracked(journal, a_run(purpose=purpose)).shape
    assert (Shape.SERVING if serves else Shape.ONE_SHOT) is shape


@pytest.mark.parametrize(
    ("state", "exit_", "too_slow", "event"),
    [
        (State.READY, Exit(code=0, cause=Cause.FINISHED), False, Event.ENDED_WELL),
        (State.READY, Exit(code=1, cause=Cause.FAILED), False, Event.ENDED_BADLY),
        (State.READY, Exit(signal=9, cause=Cause.FAILED), False, Event.ENDED_BADLY),
        (State.STOPPING, Exit(signal=9, cause=Cause.STOPPED), False, Event.ENDED_WELL),
        (State.STOPPING, Exit(code=0, cause=Cause.STOPPED), True, Event.ENDED_BADLY),
        (State.STOPPING, Exit(cause=Cause.LOST), False, Event.VANISHED),
        (State.STARTING, Exit(cause=Cause.FAILED), False, Event.ENDED_BADLY),
    ],
)
def test_what_an_exit_means_depends_on_whether_we_asked(
    state: State, exit_: Exit, too_slow: bool, event: Event
) -> None:
    assert event is outcome(state, exit_, too_slow=too_slow)


@pytest.mark.parametrize(
    ("exit_", "text"),
    [
        (Exit(code=0, cause=Cause.FINISHED), "ended with status 0"),
        (Exit(code=3, cause=Cause.FAILED, detail="see above"), "ended with status 3: see above"),
        (Exit(signal=11, cause=Cause.FAILED), "ended by signal 11 (SIGSEGV)"),
        (Exit(signal=50, cause=Cause.FAILED), "ended by signal 50"),
        (Exit(signal=9, cause=Cause.MEMORY), "it used more memory than its limit"),
        (Exit(cause=Cause.LOST), "it was gone when we looked"),
        (Exit(cause=Cause.FAILED, detail="mount failed"), "mount failed"),
        (Exit(cause=Cause.FAILED), "it could not be started"),
    ],
)
def test_how_an_end_is_told(exit_: Exit, text: str) -> None:
    assert text == describe(exit_)


@pytest.mark.parametrize(
    ("lifetime", "waits", "expected"),
    [
        (Lifetime.NODE, "", UNKILLABLE),
        (Lifetime.NODE, "x", UNKILLABLE),
        (Lifetime.REMOTE, "", "told to end, but the executor 'scripted' has it still"),
        (
            Lifetime.REMOTE,
            'Pulling image "large"',
            "told to end, but the executor 'scripted' has it still: Pulling image \"large\"",
        ),
    ],
)
def test_what_does_not_end_says_what_it_waits_for(
    journal: MemoryJournal, lifetime: Lifetime, waits: str, expected: str
) -> None:
    executor = ScriptedExecutor("/nonexistent")
    executor.capabilities = attrs.evolve(executor.capabilities, lifetime=lifetime)
    moved = tracked(journal, a_run(state=State.STARTING))
    moved.pending(waits)
    moved.move(Event.STOP, "restarted")
    moved.unkillable(executor)
    assert (True, expected) == (moved.stuck, moved.run.reason)
