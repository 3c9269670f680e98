"""The runs as `supervisor ps` shows them: of this node's workers, of other nodes, of the past."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress

import attrs
import trio

from supervisor.core.contents.views import run_view
from supervisor.core.runs.adopt import open_runs
from supervisor.core.runs.makers import Makers
from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.registry import Registry
from supervisor.core.service import RunView
from supervisor.core.storage.journal import Journal
from supervisor.errors import SupervisorError
from supervisor.model import ContentId, Run, RunId, Usage

USAGE_LIMIT = 2.0  # seconds for an executor to say what its processes use
MOST_ENDED = 100
MOST_ASKED = 1000  # runs in one question: it must fit a packet


@attrs.frozen(kw_only=True)
class Running:
    """Looks at all runs that this node knows of."""

    registry: Registry
    makers: Makers
    journal: Journal

    async def views(self, ref: str | None, *, ended: bool) -> Sequence[RunView]:
        """Give the living runs, newest first, and with `ended` the last hundred; of one content."""
        wanted = None if ref is None else self._content(ref)
        usage = await self.usage()
        workers = self.registry.workers
        views = [
            self._view(worker.tracked.run, worker, usage.get(worker.id))
            for worker in workers.values()
            if wanted in (None, worker.tracked.run.content)
        ]
        elsewhere = {away.content.id for away in self.registry.elsewhere.values()}
        stored: list[Run] = []
        if wanted in (None, *elsewhere) and elsewhere:
            stored += await open_runs(self.journal, elsewhere if wanted is None else {wanted})
        if ended:
            where = {} if wanted is None else {"content": wanted}
            stored += await self.journal.find("run", where, newest_first=True, limit=MOST_ENDED)
        told = {run.id: run for run in stored if run.id not in workers}
        views += map(self._view, told.values())
        return sorted(views, key=lambda view: view.run.id, reverse=True)

    def _content(self, ref: str) -> ContentId:
        away = self.registry.away(ref) if self.registry.find(ref) is None else None
        return self.registry.keeper(ref).content.id if away is None else away.content.id

    def _view(self, run: Run, worker: Worker | None = None, used: Usage | None = None) -> RunView:
        away = self.makers.executors.away(run.executor) if worker is not None else ""
        if away:
            run = attrs.evolve(run, reason=away)
        view = run_view(run, self.registry.numbered(run.content), worker, used)
        elsewhere = self.registry.away(str(run.content))
        if elsewhere is not None:
            content = elsewhere.content
            view = attrs.evolve(view, content_name=content.name, content_guid=content.guid)
        return attrs.evolve(view, here=run.node in ("", self.makers.node))

    async def usage(self, only: Collection[RunId] | None = None) -> dict[RunId, Usage]:
        """Give what the living processes use, as far as their executors say so in time.

        only: of these, where there are some.
        """
        used: dict[RunId, Usage] = {}
        for name, executor in self.makers.executors.by_name.items():
            theirs = [
                worker.id
                for worker in self.registry.workers.values()
                if worker.executor.name == name and (only is None or worker.id in only)
            ]
            if theirs and executor.capabilities.usage:
                with suppress(SupervisorError):
                    with trio.move_on_after(USAGE_LIMIT):
                        for first in range(0, len(theirs), MOST_ASKED):
                            asked = theirs[first : first + MOST_ASKED]
                            used.update(await executor.usage(asked))
        return used
