"""Long operations that clients poll: their lines, their end, and waiting for news of them."""

from __future__ import annotations

import secrets
import time
from typing import Any

import attrs
import trio

from supervisor.core.storage.journal import Journal
from supervisor.errors import SupervisorError
from supervisor.interfaces import Change
from supervisor.model import BundleId, ContentId, DeploymentId, Task

MOST_LINES = 5000  # a task keeps its first lines
MOST_FINISHED = 100  # of these the newest lines need no look into the store


@attrs.define(eq=False)
class LiveTask:
    """A task that is under way in this core."""

    record: Task
    journal: Journal
    news: trio.Event = attrs.field(factory=trio.Event)

    def say(self, *lines: str) -> None:
        """Add lines to what the client sees."""
        room = MOST_LINES - len(self.record.output)
        self._set(output=self.record.output + lines[: max(0, room)])

    def succeed(self, result: str) -> None:
        """End well; result is what the client shows: a URL."""
        self._set(finished=True, code=0, result=result)

    def fail(self, error: SupervisorError) -> None:
        """End badly; the message ends with the code in the form that publishing clients know."""
        text = f"{error.message} (Error code: {error.code})"
        self._set(finished=True, code=1, error=text)

    async def deploys(self, deployment: DeploymentId) -> None:
        """Record whose directory is made from now on; durable when it returns."""
        self.record = attrs.evolve(self.record, deployment=deployment)
        await self.journal.intent(Change(kind="task", record=self.record))

    def _set(self, **fields: Any) -> None:
        self.record = attrs.evolve(self.record, **fields)
        self.journal.fact(Change(kind="task", record=self.record))
        news, self.news = self.news, trio.Event()
        news.set()


@attrs.define(eq=False)
class Tasks:
    """All tasks of this core; older ones are in the store."""

    journal: Journal
    _live: dict[str, LiveTask] = attrs.field(factory=dict)

    async def open(self, content: ContentId, bundle: BundleId) -> LiveTask:
        """Make a task; durable when it returns."""
        record = Task(
            id=secrets.token_urlsafe(12), content=content, bundle=bundle, created=time.time()
        )
        await self.journal.intent(Change(kind="task", record=record))
        return self.resume(record)

    def resume(self, record: Task) -> LiveTask:
        """Go on with a task that an earlier core has left unfinished."""
        finished = [id for id, task in self._live.items() if task.record.finished]
        for id in finished[:-MOST_FINISHED]:
            del self._live[id]
        task = self._live[record.id] = LiveTask(record=record, journal=self.journal)
        return task

    async def get(self, task_id: str, *, first: int, wait: float) -> Task:
        """Give a task with its lines from `first` on; wait for news for at most `wait` seconds."""
        live = self._live.get(task_id)
        if live is None:
            record = await self.journal.get("task", task_id)
            if not isinstance(record, Task):
                raise SupervisorError("not-found", f"there is no task {task_id!r}")
            return attrs.evolve(record, output=record.output[first:])
        await trio.lowlevel.checkpoint()  # a client that asks without pause holds nobody up
        with trio.move_on_after(wait):
            while len(live.record.output) <= first and not live.record.finished:
                await live.news.wait()
        return attrs.evolve(live.record, output=live.record.output[first:])
