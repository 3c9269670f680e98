"""Look at what limited processes use: one whose memory is high is replaced before it is killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import attrs
import trio

from supervisor.core.figures import Figures
from supervisor.core.keeper import Keeper
from supervisor.core.registry import Registry
from supervisor.core.worker import Worker
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import RunId, Usage

LOOK_EACH = 2.0  # seconds
SETTLED = 60.0  # seconds ready, before which a successor would be no better: it is only warned of


@attrs.define(eq=False)
class Strain:
    """Watches all workers of a core that have a limit of memory. usage: what some of them use."""

    usage: Callable[[Collection[RunId]], Awaitable[Mapping[RunId, Usage]]]
    registry: Registry
    figures: Figures
    log: Log
    _high: set[RunId] = attrs.field(factory=set)
    _kills: dict[RunId, int] = attrs.field(factory=dict)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await trio.sleep(LOOK_EACH)
            await self.look()

    async def look(self) -> None:
        """Look once."""
        workers = [
            worker
            for worker in self.registry.workers.values()
            if worker.given.limits.memory_high or worker.given.limits.memory_max
        ]
        used = await self.usage({worker.id for worker in workers}) if workers else {}
        for worker in workers:
            if worker.id in used and worker.exit is None:
                self._count(worker, used[worker.id])
                self._weigh(worker, used[worker.id])
        living = self.registry.workers.keys()
        self._high &= living
        self._kills = {run: count for run, count in self._kills.items() if run in living}

    def _count(self, worker: Worker, used: Usage) -> None:
        more = used.kills - self._kills.get(worker.id, 0)
        if more <= 0:
            return
        self._kills[worker.id] = used.kills
        self.figures.memory_kills.add(by=more)
        content = worker.tracked.run.content
        self.log.warning("memory-kill", run=worker.id, content=content, processes=more)
        worker.output.say(
            f"[supervisor] the kernel has killed {more} of its processes for want of memory"
        )

    def _weigh(self, worker: Worker, used: Usage) -> None:
        mark = worker.given.limits.memory_high
        if mark is None or worker.state is not State.READY:
            return
        if used.memory < mark:
            if worker.id in self._high:
                self._high.discard(worker.id)
                worker.tracked.note(reason="")
            return
        content = worker.tracked.run.content
        reason = f"its memory is high: {_megabytes(used.memory)} of {_megabytes(mark)}"
        if worker.id not in self._high:
            self._high.add(worker.id)
            self.log.warning("memory-high", run=worker.id, content=content, memory=used.memory)
            worker.output.say(f"[supervisor] {reason}")
            worker.tracked.note(reason=reason)
        keeper = self.registry.numbered(content)
        if keeper is not None and self._is_due(keeper, worker):
            keeper.relieve(worker, reason)

    def _is_due(self, keeper: Keeper, worker: Worker) -> bool:
        """Whether to replace it now: not a young one, and one at a time."""
        ready = float("inf") if worker.ready_at is None else worker.ready_at
        replaced = any(w.id in self._high and w.state is State.DRAINING for w in keeper.workers)
        return trio.current_time() - ready >= SETTLED and not replaced


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
