"""One look at everything for Prometheus: bounded in time and in the number of series."""

from __future__ import annotations

import os
import platform
import time
from collections import Counter
from collections.abc import Mapping

import attrs
import trio

from supervisor import __version__
from supervisor.core.contents.contents import Contents
from supervisor.core.contents.running import Running
from supervisor.core.contents.views import content_view
from supervisor.core.control import Control
from supervisor.core.figures import Figures
from supervisor.core.routing.routes import Routes
from supervisor.core.scheduling.keeper import Keeper
from supervisor.exposition import render
from supervisor.model import RunId, Usage
from supervisor.sampling import Processes

FRESH = 1.0  # seconds for which an answer is given again: two servers may ask at once
MOST_CONTENTS = 2000  # that are told one by one: those with most processes

Used = Mapping[RunId, Usage]


@attrs.define(eq=False)
class Scrape:
    """Look at a core."""

    figures: Figures
    contents: Contents
    routes: Routes
    control: Control
    tier: str
    _processes: Processes = attrs.field(factory=Processes)
    _cpu: dict[RunId, float] = attrs.field(factory=dict)  # of the living runs, at the last look
    _lock: trio.Lock = attrs.field(factory=trio.Lock)
    _text: bytes = b""
    _made: float = float("-inf")

    def __attrs_post_init__(self) -> None:
        figures = self.figures
        figures.build.set(1, __version__, platform.python_version(), self.tier)
        figures.since.set(time.time())

    async def __call__(self) -> bytes:
        """Give the text; the same one again within FRESH seconds."""
        async with self._lock:
            if trio.current_time() - self._made >= FRESH:
                begun = time.perf_counter()
                used = await self._usage()
                self._look(used)
                self.figures.looked.set(round(time.perf_counter() - begun, 6))
                self._text = render(self.figures.families)
                self._made = trio.current_time()
            return self._text

    async def _usage(self) -> Used:
        contents = self.contents
        running = Running(
            registry=contents.registry, makers=contents.makers, journal=contents.journal
        )
        return await running.usage()

    def _look(self, used: Used) -> None:
        keepers = list(self.contents.registry.by_guid.values())
        self._look_at_seats(keepers)
        self._look_at_contents(keepers, used)
        self._look_at_parts()
        figures = self.figures
        figures.runs.clear()
        states = Counter(worker.state.value for worker in self.contents.registry.workers.values())
        for state, count in states.items():
            figures.runs.set(count, state)
        figures.starts_line.set(self.contents.starts.waiting)
        figures.starts_now.set(self.contents.starts.under_way)
        figures.store_waiting.set(self.contents.journal.waiting)
        figures.spill.set(self.contents.journal.spilled)
        figures.gateways.set(len(self.routes.gateways))
        for digit, count in self.routes.answered.items():
            figures.answers.set(count, f"{digit}xx")
        makers = self.contents.makers
        for name in makers.executors.by_name:
            figures.away.set(1 if makers.executors.away(name) else 0, name)
        figures.plugins.set(sum(bool(view.problem) for view in makers.plugins.views()))
        figures.log_dropped.set(self.contents.log.sink.dropped)

    def _look_at_seats(self, keepers: list[Keeper]) -> None:
        used = free = waiting = 0
        oldest = float("inf")
        for keeper in keepers:
            for worker in keeper.serving():
                taken = keeper.load(worker).taken
                used += taken
                free += max(0, keeper.scaling.sessions_each - taken)
            waiting += keeper.line.waiting()
            oldest = min([oldest, *(place.joined for place in keeper.line if place.counts)])
        figures = self.figures
        figures.seats_used.set(used)
        figures.seats_free.set(free)
        figures.line.set(waiting)
        figures.line_age.set(round(max(0.0, trio.current_time() - oldest), 3) if waiting else 0)

    def _look_at_contents(self, keepers: list[Keeper], used: Used) -> None:
        figures = self.figures
        for figure in (
            figures.contents, figures.processes, figures.sessions, figures.waiting, figures.memory,
        ):  # fmt: skip
            figure.clear()
        keepers.sort(key=lambda keeper: -len(keeper.workers))
        told: set[tuple[str, str]] = set()
        cpu: dict[RunId, float] = {}
        left_out = 0
        for keeper in keepers:
            view = content_view(keeper, "")
            figures.contents.add(view.state)
            label = (str(keeper.content.guid), keeper.content.name)
            if not (keeper.workers or view.waiting or label in figures.cpu.values):
                continue  # asleep all the time: it would only be zeroes
            if len(told) >= MOST_CONTENTS:
                left_out += 1
                continue
            told.add(label)
            figures.processes.set(view.processes, *label)
            figures.sessions.set(view.sessions, *label)
            figures.waiting.set(view.waiting, *label)
            memory, since = 0, 0.0
            for worker in keeper.workers:
                usage = used.get(worker.id)
                if usage is not None:
                    memory += usage.memory
                    since += max(0.0, usage.cpu - self._cpu.get(worker.id, 0.0))
                    cpu[worker.id] = usage.cpu
            figures.memory.set(memory, *label)
            figures.cpu.add(*label, by=round(since, 2))
        # those that nobody could ask about now are not counted from their beginning again
        lost = {run: at for run, at in self._cpu.items() if run in self.contents.registry.workers}
        self._cpu = {**lost, **cpu}
        for gone in figures.cpu.values.keys() - told:
            del figures.cpu.values[gone]  # it was removed, or is one too many
        figures.left_out.set(left_out)

    def _look_at_parts(self) -> None:
        figures = self.figures
        parts = self.control.parts
        pids = {**parts.get("pids", {}), "parent": os.getppid(), "core": os.getpid()}
        self._processes.keep_only(pids.values())
        figures.part_memory.clear()
        for name, pid in pids.items():
            sample = self._processes.read(pid)
            if sample is not None:
                figures.part_cpu.set(round(sample.cpu, 2), name)
                figures.part_memory.set(sample.memory, name)
        for name, count in parts.get("starts", {}).items():
            figures.part_starts.set(count, name)
