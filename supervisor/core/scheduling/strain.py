"""Look at what limited processes use: one whose memory is high is replaced before it is killed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping

import attrs
import trio

from supervisor.core.figures import Figures
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.scheduling.registry import Registry
from supervisor.lifecycle import State
from supervisor.log import Log
from supervisor.model import RunId, Usage

LOOK_EACH = 2.0  # seconds
SETTLED = 60.0  # seconds ready; what is high before that is only warned of: so would a successor be


@attrs.define(eq=False)
class Strain:
    """Watches all workers of a core that have a limit of memory. usage: what some of them use."""

    usage: Callable[[Collection[RunId]], Awaitable[Mapping[RunId, Usage]]]
    registry: Registry
    figures: Figures
    log: Log
    _high: dict[RunId, bool] = attrs.field(factory=dict)  # whether it had settled then
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
        self._high = {run: settled for run, settled in self._high.items() if run in living}
        self._kills = {run: count for run, count in self._kills.items() if run in living}

    def _count(self, worker: Worker, used: Usage) -> None:
        # What an adopted one has lost so far, the core that started it has counted.
        known = self._kills.get(worker.id, used.kills if worker.adopted else 0)
        self._kills[worker.id] = max(known, used.kills)
        more = used.kills - known
        if more <= 0:
            return
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
            if self._high.pop(worker.id, None) is not None:
                worker.tracked.note(reason="")
            return
        content = worker.tracked.run.content
        reason = f"its memory is high: {_megabytes(used.memory)} of {_megabytes(mark)}"
        if worker.id not in self._high:
            self._high[worker.id] = _has_settled(worker)
            self.log.warning("memory-high", run=worker.id, content=content, memory=used.memory)
            worker.output.say(f"[supervisor] {reason}")
            worker.tracked.note(reason=reason)
        keeper = self.registry.numbered(content)
        if keeper is not None and self._is_due(keeper, worker):
            keeper.relieve(worker, reason)

    def _is_due(self, keeper: Keeper, worker: Worker) -> bool:
        """Whether to replace it now: not one that was high when young, and one at a time."""
        replaced = any(w.id in self._high and w.state is State.DRAINING for w in keeper.workers)
        return self._high[worker.id] and not replaced


def _has_settled(worker: Worker) -> bool:
    """Whether it has been ready for long, under an earlier core too: that is on record."""
    tracked, here = worker.tracked, worker.ready_at
    since = tracked.run.ready
    return (here is not None and trio.current_time() - here >= SETTLED) or (
        since is not None and tracked.clock() - since >= SETTLED
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.0f} MB"
