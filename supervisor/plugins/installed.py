"""Find the installed plugins by their entry points; nothing is imported."""

from __future__ import annotations

import importlib.metadata
from typing import Any

import attrs

from supervisor.plugins.given import Invalid
from supervisor.plugins.hookspecs import GROUP

GROUPS = GROUP.rstrip("0123456789")


@attrs.frozen(kw_only=True)
class Found:
    """A plugin as its distribution declares it."""

    point: importlib.metadata.EntryPoint

    @property
    def name(self) -> str:
        """The name that it is disabled and blamed by."""
        return self.point.name

    @property
    def version(self) -> str:
        """The version of its distribution, or ""."""
        return self.point.dist.version if self.point.dist is not None else ""

    def load(self) -> Any:
        """Import it. Raises Invalid for one that is made for another server, and what it raises."""
        if self.point.group != GROUP:
            raise Invalid(f"it is made for {self.point.group}, this server reads {GROUP}")
        return self.point.load()


def entry_points() -> list[Found]:
    """Give each entry point once, also where its distribution is found twice on sys.path.

    Those of another version of the group are given where a plugin has none of ours.
    """
    every = importlib.metadata.entry_points()
    found = {(point.name, point.value): point for point in every.select(group=GROUP)}
    ours = {name for name, _ in found}
    for group in sorted(name for name in every.groups if name.startswith(GROUPS)):
        for point in every.select(group=group):
            if point.name not in ours:
                found[point.name, point.value] = point
    return [Found(point=found[key]) for key in sorted(found)]
