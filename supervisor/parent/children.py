"""The watches of one parent: one for each program, and those of gateways that were replaced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from supervisor.log import Log
from supervisor.parent.child import Program
from supervisor.parent.watch import TimeLimits, Watch


class Children:
    """All children. saved: what an earlier parent of this pid knew of them, by Watch.saved."""

    def __init__(
        self,
        programs: Sequence[Program],
        *,
        limits: TimeLimits,
        log: Log,
        saved: Sequence[Mapping[str, Any]] = (),
    ) -> None:
        self._programs = {program.name: program for program in programs}
        self.limits = limits
        self._log = log
        watches = [self.watch(fields["name"]).restored(fields) for fields in saved]
        going_on = {watch.name: watch for watch in watches if not watch.retired}
        self.kept = [going_on.get(name) or self.watch(name) for name in self._programs]
        self.leaving = [watch for watch in watches if watch.retired]  # the oldest first

    @property
    def all(self) -> list[Watch]:
        """Every watch, whether its child lives or not."""
        return [*self.kept, *self.leaving]

    @property
    def living(self) -> list[Watch]:
        """Those that have a child."""
        return [watch for watch in self.all if watch.child is not None]

    @property
    def ready(self) -> bool:
        """Whether every program has a child that is ready."""
        return all(watch.ready for watch in self.kept)

    def watch(self, name: str) -> Watch:
        """Make another watch of a program."""
        return Watch(self._programs[name], limits=self.limits, log=self._log)

    def configure(self, data_of: Callable[[str], bytes], limits: TimeLimits) -> None:
        """Give those that start from now on other settings, and all other limits."""
        self.limits = limits
        for name, program in self._programs.items():
            self._programs[name] = dataclasses.replace(program, settings=data_of(name))
        for watch in self.all:
            watch.configure(self._programs[watch.name], limits)

    def named(self, name: str) -> Watch | None:
        """Give the watch that keeps a program, None where there is no such program."""
        return next((watch for watch in self.kept if watch.name == name), None)

    def of(self, pid: int) -> Watch | None:
        """Give the watch of a living child, None for somebody else's process."""
        for watch in self.living:
            if watch.child is not None and watch.child.pid == pid:
                return watch
        return None

    def saved(self) -> list[dict[str, object]]:
        """Give what a later parent of this pid needs to go on with them, as JSON."""
        return [watch.saved() for watch in self.all]
