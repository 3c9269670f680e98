"""States, events, the transition tables, advance(); nothing else.

Every change of a run's or a bundle's state goes through `advance`; what the table does not hold
cannot happen. The diagrams of the documentation are drawn from these very tables.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"
    STARTING = "starting"
    PROBING = "probing"
    READY = "ready"
    WORKING = "working"
    DRAINING = "draining"
    STOPPING = "stopping"
    EXITED = "exited"
    FAILED = "failed"
    LOST = "lost"


class Event(StrEnum):
    """What can happen to a run."""

    ADMITTED = "admitted"  # there is room: start it
    RUNNING = "running"  # the executor says that the process exists
    ANSWERED = "answered"  # the process answers as its plan says
    DRAIN = "drain"  # no new sessions
    STOP = "stop"  # somebody wants it gone
    TOO_SLOW = "too-slow"  # a time limit of its state has passed
    ENDED_WELL = "ended-well"  # status 0, or ended after we asked
    ENDED_BADLY = "ended-badly"  # anything else
    VANISHED = "vanished"  # the executor does not know it


class Shape(StrEnum):
    """Which table holds for a run: it serves until it is stopped, or does one thing and ends."""

    SERVING = "serving"
    ONE_SHOT = "one-shot"


ENDS = frozenset({State.EXITED, State.FAILED, State.LOST})

Table = dict[tuple[State, Event], State]

_ENDING: Table = {
    (State.STOPPING, Event.ENDED_WELL): State.EXITED,
    (State.STOPPING, Event.ENDED_BADLY): State.FAILED,
    (State.STOPPING, Event.VANISHED): State.LOST,
}

SERVING: Table = {
    (State.QUEUED, Event.ADMITTED): State.STARTING,
    (State.QUEUED, Event.STOP): State.EXITED,
    (State.STARTING, Event.RUNNING): State.PROBING,
    (State.STARTING, Event.ENDED_WELL): State.FAILED,
    (State.STARTING, Event.ENDED_BADLY): State.FAILED,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.STARTING, Event.TOO_SLOW): State.STOPPING,
    (State.STARTING, Event.VANISHED): State.LOST,
    (State.PROBING, Event.ANSWERED): State.READY,
    (State.PROBING, Event.ENDED_WELL): State.FAILED,
    (State.PROBING, Event.ENDED_BADLY): State.FAILED,
    (State.PROBING, Event.STOP): State.STOPPING,
    (State.PROBING, Event.TOO_SLOW): State.STOPPING,
    (State.PROBING, Event.VANISHED): State.LOST,
    (State.READY, Event.DRAIN): State.DRAINING,
    (State.READY, Event.ENDED_WELL): State.EXITED,
    (State.READY, Event.ENDED_BADLY): State.FAILED,
    (State.READY, Event.STOP): State.STOPPING,
    (State.READY, Event.VANISHED): State.LOST,
    (State.DRAINING, Event.ENDED_WELL): State.EXITED,
    (State.DRAINING, Event.ENDED_BADLY): State.FAILED,
    (State.DRAINING, Event.STOP): State.STOPPING,
    (State.DRAINING, Event.VANISHED): State.LOST,
    **_ENDING,
}

ONE_SHOT: Table = {
    (State.QUEUED, Event.ADMITTED): State.STARTING,
    (State.QUEUED, Event.STOP): State.EXITED,
    (State.STARTING, Event.RUNNING): State.WORKING,
    # a short one-shot may end before anybody saw it running
    (State.STARTING, Event.ENDED_WELL): State.EXITED,
    (State.STARTING, Event.ENDED_BADLY): State.FAILED,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.STARTING, Event.TOO_SLOW): State.STOPPING,
    (State.STARTING, Event.VANISHED): State.LOST,
    (State.WORKING, Event.ENDED_WELL): State.EXITED,
    (State.WORKING, Event.ENDED_BADLY): State.FAILED,
    (State.WORKING, Event.STOP): State.STOPPING,
    (State.WORKING, Event.TOO_SLOW): State.STOPPING,
    (State.WORKING, Event.VANISHED): State.LOST,
    **_ENDING,
}

TABLES: dict[Shape, Table] = {Shape.SERVING: SERVING, Shape.ONE_SHOT: ONE_SHOT}


class ImpossibleTransition(Exception):
    """The table holds no move for this event in this state: a defect of ours, never of content."""


def advance(shape: Shape, state: State, event: Event) -> State:
    """Give the state that follows; raises ImpossibleTransition naming shape, state and event."""
    try:
        return TABLES[shape][state, event]
    except KeyError:
        raise ImpossibleTransition(
            f"a {shape.value} run that is {state.value} cannot take {event.value!r}"
        ) from None


# Bundle states by name (model.BundleState): event → (from, to)
BUNDLE: dict[str, tuple[tuple[str, str], ...]] = {
    "unpacked": (("uploaded", "unpacked"),),
    "install": (("unpacked", "installing"),),
    "installed": (("installing", "ready"), ("unpacked", "ready")),
    "activated": (("ready", "active"), ("retired", "active"), ("active", "active")),
    "retired": (("active", "retired"),),
    "rejected": (
        ("uploaded", "rejected"),
        ("unpacked", "rejected"),
        ("installing", "rejected"),
        ("ready", "rejected"),
    ),
    # what is active goes with its content only
    "swept": tuple(
        (state, "going")
        for state in (
            "uploaded", "unpacked", "installing", "ready", "rejected", "retired", "active",
        )
    ),
}  # fmt: skip


def advance_bundle(state: str, event: str) -> str:
    """Give the bundle state that follows; raises ImpossibleTransition."""
    for was, now in BUNDLE[event]:
        if was == state:
            return now
    raise ImpossibleTransition(f"a bundle that is {state} cannot take {event!r}")
