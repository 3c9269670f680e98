"""Which limits a run gets: what its content sets, else what the server says, where it can hold."""

from __future__ import annotations

from typing import Any

import attrs

from supervisor import limits
from supervisor.errors import SupervisorError
from supervisor.interfaces import Executor
from supervisor.limits import Allowed
from supervisor.model import Content, Limits

# Kept by the core itself, beside memory_high where the executor says what its processes use.
_OWN_LIMITS = frozenset({"run_time"})


@attrs.frozen(kw_only=True)
class Given:
    """The limits of a run. lacking: names of those of the server that its executor cannot hold."""

    limits: Limits = Limits()
    lacking: tuple[str, ...] = ()


NO_LIMITS = Given()


def limits_of(content: Content, allowed: Allowed, executor: Executor) -> Given:
    """Give the limits of a run of a content.

    Raises SupervisorError("limit-unenforceable") where the content itself sets one that the
    executor does not claim: one that silently does not hold is worse.
    """
    own = attrs.asdict(content.limits)
    counting = _counting(content, allowed)
    wanted = {name for name, value in counting.items() if value is not None}
    beyond = wanted - claimed(executor)
    if refused := sorted(name for name in beyond if own[name]):
        raise SupervisorError(
            "limit-unenforceable",
            f"the executor {executor.name!r} cannot enforce {', '.join(map(_named, refused))} here",
            hint="Take the limit away from the content, or give it another executor.",
        )
    kept = {name: None if name in beyond else value for name, value in counting.items()}
    return Given(
        limits=Limits(**kept),
        lacking=tuple(map(_named, sorted(beyond - {"memory_high"}))),
    )


def lacking(allowed: Allowed, executor: Executor) -> tuple[str, ...]:
    """Give the names of the server's limits that an executor cannot hold."""
    wanted = {name for name, value in allowed.counting({}).items() if value is not None}
    return tuple(map(_named, sorted(wanted - claimed(executor) - {"memory_high"})))


def running_with(content: Content, allowed: Allowed) -> Given:
    """Give the limits of a run that another core has started, as far as can be known now."""
    return Given(limits=Limits(**_counting(content, allowed)))


def claimed(executor: Executor) -> frozenset[str]:
    """Give the names of the limits that hold for processes of an executor."""
    ours = _OWN_LIMITS | ({"memory_high"} if executor.capabilities.usage else set())
    return executor.capabilities.limits | ours


def _counting(content: Content, allowed: Allowed) -> dict[str, Any]:
    own = attrs.asdict(content.limits)
    return {**allowed.counting(own), "run_time": own["run_time"] or None}


def _named(field: str) -> str:
    return limits.NAMES.get(field, field)
