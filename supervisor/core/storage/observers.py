"""Tell plugins of transitions, after they were journalled, in order, without holding anybody up."""

from __future__ import annotations

from collections.abc import Sequence

import attrs
import trio

from supervisor.interfaces import Change
from supervisor.log import Log
from supervisor.model import Transition
from supervisor.plugins.loading import Plugins

MOST_WAITING = 10_000


@attrs.define(eq=False)
class Observers:
    """A queue between the journal and the plugins; when it is full, the newest are not told."""

    plugins: Plugins
    log: Log
    _send: trio.MemorySendChannel[Transition] = attrs.field(init=False)
    _receive: trio.MemoryReceiveChannel[Transition] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[Transition](MOST_WAITING)

    def told(self, changes: Sequence[Change]) -> None:
        """Take what has become durable."""
        for change in changes:
            if isinstance(change.record, Transition):
                try:
                    self._send.send_nowait(change.record)
                except trio.WouldBlock:
                    self.log.warning("transition-not-observed", run=change.record.run)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Tell the plugins until cancelled."""
        task_status.started()
        async for transition in self._receive:
            await self.plugins.observe(transition)
