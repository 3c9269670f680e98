"""What everybody in a simulated day shares: chance, the contents, their histories, broken rules."""

from __future__ import annotations

import random
from collections import Counter, deque
from typing import TYPE_CHECKING

import attrs
import trio

from supervisor.log import Log
from supervisor.model import ContentId, DeploymentId, Guid, Overrides, RunId

if TYPE_CHECKING:
    from tests.support.day.core import Core
    from tests.support.day.gateway import DayGateway
    from tests.support.day.processes import Process

REMEMBERED = 60  # lines of a content's history


class RuleBroken(AssertionError):
    """A rule does not hold: with the seed, the moment and the history of the content."""


@attrs.define(eq=False)
class App:
    """One content as the world outside the core sees it. Times are seconds of the mock clock.

    starts: from its start until a process answers. computes: the share of sessions that make their
    process compute. broken: deployments whose processes end before they answer. visitors: who is
    there now, in line or in a session; quiet: since when nobody is. waiting: who asks again and
    again for a place, and since when; called: who was told that it is there. touched: when the
    number of its sessions, its scaling or what serves it was changed last; counted: when its seats
    were compared with its sessions last.
    """

    number: ContentId
    guid: Guid
    scaling: Overrides
    starts: float
    stirring: dict[App, None]
    computes: float = 0.0
    broken: set[DeploymentId] = attrs.field(factory=set)
    processes: dict[RunId, Process] = attrs.field(factory=dict)
    visitors: int = 0
    quiet: float = 0.0
    touched: float = 0.0
    counted: float = 0.0
    replaced: set[DeploymentId] = attrs.field(factory=set)
    removed: Counter[DeploymentId] = attrs.field(factory=Counter)
    waiting: dict[str, float] = attrs.field(factory=dict)
    called: set[str] = attrs.field(factory=set)
    history: deque[str] = attrs.field(factory=lambda: deque(maxlen=REMEMBERED))

    def note(self, text: str) -> None:
        """Add a line to its history."""
        self.history.append(f"{trio.current_time():11.3f}  {text}")

    def touch(self) -> None:
        """Note that what the core and the gateways know of it may differ for a moment."""
        self.touched = trio.current_time()
        self.stirring[self] = None

    def comes(self) -> None:
        """Count a visitor who comes."""
        self.visitors += 1
        self.stirring[self] = None

    def goes(self) -> None:
        """Count a visitor who is gone for good."""
        self.visitors -= 1
        self.quiet = trio.current_time()


@attrs.define(eq=False)
class World:
    """A simulated server. stirring: the contents that anything has happened to of late.

    core: None while none lives. gateways: the newest is the last.
    """

    seed: int
    random: random.Random
    apps: dict[Guid, App] = attrs.field(factory=dict)
    stirring: dict[App, None] = attrs.field(factory=dict)
    core: Core | None = None
    core_since: float = 0.0
    gateways: list[DayGateway] = attrs.field(factory=list)
    figures: Counter[str] = attrs.field(factory=Counter)
    waited: list[float] = attrs.field(factory=list)
    failure: RuleBroken | None = None
    failed: trio.Event = attrs.field(factory=trio.Event)

    def broke(self, app: App | None, rule: str) -> None:
        """Note that a rule does not hold; the first one ends the simulation."""
        if self.failure is None:
            lines = [] if app is None else [f"content {app.number}, {app.scaling}:", *app.history]
            self.failure = RuleBroken(
                "\n".join([f"seed {self.seed}, at {trio.current_time():.3f} s: {rule}", *lines])
            )
            self.failed.set()

    def by_number(self, number: int) -> App:
        """Give a content by its id."""
        return self.apps[Guid(f"guid-{number}")]

    def chance(self, share: float) -> bool:
        """Throw the dice."""
        return self.random.random() < share


class DayLog(Log):
    """A log that takes every error for a broken rule, and counts the rest."""

    def __init__(self, world: World) -> None:
        super().__init__("core")
        self.world = world

    def _write(self, level: str, event: str, fields: dict[str, object]) -> None:
        if level in ("warning", "error"):
            self.world.figures[f"log {event}"] += 1
        if level == "error":
            self.world.broke(None, f"the core logged {event}: {fields}")
