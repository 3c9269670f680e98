"""Bounds: what a content's scaling may be, and which documented error says what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from supervisor.errors import SupervisorError

LONGEST = 2_592_000  # seconds of any time limit: thirty days

# field of a scaling → its name in the API and on the command line
NAMES = {
    "least": "min_processes",
    "most": "max_processes",
    "sessions_each": "max_conns_per_process",
    "load_factor": "load_factor",
    "init": "init_timeout",
    "idle": "idle_timeout",
    "connection": "connection_timeout",
    "read": "read_timeout",
    "reconnect": "reconnect_timeout",
    "drain": "drain_timeout",
    "notice": "drain_notice",
}
_TIMES = ("init", "idle", "connection", "read", "reconnect", "drain")


class Bounded(Protocol):
    """The fields that have bounds: of model.Scaling, or of the section [Scheduler]."""

    @property
    def least(self) -> int: ...
    @property
    def most(self) -> int: ...
    @property
    def sessions_each(self) -> int: ...
    @property
    def load_factor(self) -> float: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Violation:
    """A value beyond its bounds. fields: those that do not go together, the one to blame first."""

    code: str
    fields: tuple[str, ...]
    text: str
    hint: str = ""


def check(scaling: Bounded, *, least_limit: int, most_limit: int) -> None:
    """Raise SupervisorError with the code of the first bound that is violated.

    least_limit, most_limit: the most that least and most may be.
    """
    for found in violations(scaling, least_limit=least_limit, most_limit=most_limit):
        raise SupervisorError(
            found.code, f"{NAMES[found.fields[0]]}: {found.text}.", hint=found.hint
        )


def violations(scaling: Bounded, *, least_limit: int, most_limit: int) -> Iterator[Violation]:
    """Yield every bound that is violated; `check` says what the arguments are."""
    least, most = scaling.least, scaling.most
    if most <= 0:
        yield Violation(
            code="max-processes-not-positive", fields=("most",), text=f"{most} is not 1 or more"
        )
    elif most > most_limit:
        yield Violation(
            code="max-processes-over-limit",
            fields=("most", "most_limit"),
            text=f"{most} is more than the server's MaxProcessesLimit, {most_limit}",
            hint="An administrator can raise MaxProcessesLimit in [Scheduler].",
        )
    if least < 0:
        yield Violation(
            code="min-processes-negative", fields=("least",), text=f"{least} is not 0 or more"
        )
    elif least > least_limit:
        yield Violation(
            code="min-processes-over-limit",
            fields=("least", "least_limit"),
            text=f"{least} is more than the server's MinProcessesLimit, {least_limit}",
            hint="An administrator can raise MinProcessesLimit in [Scheduler].",
        )
    elif 0 < most < least:
        yield Violation(
            code="min-processes-over-max",
            fields=("least", "most"),
            text=f"{least} is more than the {most} processes that there may be at most",
        )
    if scaling.sessions_each < 1:
        yield Violation(
            code="max-conns-not-positive",
            fields=("sessions_each",),
            text=f"{scaling.sessions_each} is not 1 or more",
        )
    if not 0.0 <= scaling.load_factor <= 1.0:
        yield Violation(
            code="load-factor-out-of-range",
            fields=("load_factor",),
            text=f"{scaling.load_factor:g} is not from 0.0 to 1.0",
        )
    for name in _TIMES:
        seconds: float = getattr(scaling, name)
        if not 0 <= seconds <= LONGEST:
            yield Violation(
                code="timeout-out-of-range",
                fields=(name,),
                text=f"{seconds:.10g} s is not from 0 to {LONGEST} s (thirty days)",
            )
