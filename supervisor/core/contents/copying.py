"""Copy the lines of running workers to somebody who reads their log."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import attrs
import trio

from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.service import LogLine

WAITING = 100  # lines that wait for a slow reader
NEW_TAIL = 200  # lines of a worker that starts while somebody follows


@attrs.define(eq=False)
class Copying:
    """Lines of `workers` (and, following a keeper, of those that start later) into one channel.

    run() does it in a task of its own; `lines` ends when there is nothing more to come.
    """

    keeper: Keeper | None
    workers: Sequence[Worker]
    tail: int
    follow: bool
    lines: trio.MemoryReceiveChannel[LogLine] = attrs.field(init=False)
    _send: trio.MemorySendChannel[LogLine] = attrs.field(init=False)
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self._send, self.lines = trio.open_memory_channel[LogLine](WAITING)

    def cancel(self) -> None:
        """End it; the reader has gone."""
        self._scope.cancel()
        self.lines.close()

    async def run(self) -> None:
        """Copy until there is nothing more to come, or until cancel()."""
        seen = set(self.workers)
        with self._scope:
            async with self._send, trio.open_nursery() as nursery:
                for worker in self.workers:
                    nursery.start_soon(self._copy, worker, self.tail)
                while self.keeper is not None and self.follow:
                    for worker in self.keeper.workers:
                        if worker not in seen:
                            seen.add(worker)
                            nursery.start_soon(self._copy, worker, NEW_TAIL)
                    await self.keeper.news()

    async def _copy(self, worker: Worker, tail: int) -> None:
        with suppress(trio.BrokenResourceError):  # the reader has gone
            async with worker.output.subscribe() as lines:
                for line in list(worker.output.tail)[-tail:] if tail else []:
                    await self._send.send(line)
                if self.follow and not worker.tracked.ended:
                    async for line in lines:
                        await self._send.send(line)
