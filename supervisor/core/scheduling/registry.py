"""The keepers and the living workers of this core, and how people name them."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from supervisor.core.runs.worker import Worker
from supervisor.core.scheduling.elsewhere import Elsewhere
from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.storage.journal import Journal
from supervisor.errors import SupervisorError
from supervisor.model import ContentId, Guid, Run, RunId

SHORTEST = 4  # characters of a run id that are taken for a beginning of it


@attrs.define(eq=False)
class Registry:
    """by_guid: a keeper per content; workers: all that live, by run id; elsewhere: of others."""

    by_guid: dict[Guid, Keeper] = attrs.field(factory=dict)
    workers: dict[RunId, Worker] = attrs.field(factory=dict)
    elsewhere: dict[Guid, Elsewhere] = attrs.field(factory=dict)

    def find(self, ref: str) -> Keeper | None:
        """Find a content by its guid, its name or its id."""
        keeper = self.by_guid.get(Guid(ref))
        if keeper is None:
            keeper = next((k for k in self.by_guid.values() if k.content.name == ref), None)
        if keeper is None and ref.isascii() and ref.isdigit():
            keeper = self.numbered(ContentId(int(ref)))
        return keeper

    def numbered(self, content: ContentId) -> Keeper | None:
        """Find a content by its id."""
        return next((k for k in self.by_guid.values() if k.content.id == content), None)

    def away(self, ref: str) -> Elsewhere | None:
        """Find a content that another node has, by its guid, its name or its id."""
        every = self.elsewhere.values()
        for away in every:
            if ref in (away.content.guid, away.content.name):
                return away
        return next((away for away in every if ref == str(away.content.id)), None)

    def keeper(self, ref: str) -> Keeper:
        """Give a content by its guid, its name or its id. Raises not-found, other-node."""
        keeper = self.find(ref)
        if keeper is None:
            if (away := self.away(ref)) is not None:
                raise away.refusal()
            raise SupervisorError(
                "not-found",
                f"there is no content {ref!r}",
                hint="`supervisor list` shows them all.",
            )
        return keeper

    def keeper_of(self, content: ContentId) -> Keeper:
        """Give a content that was there when somebody took its id. Raises not-found."""
        keeper = self.numbered(content)
        if keeper is None:
            raise SupervisorError("not-found", f"the content {content} was removed")
        return keeper

    def worker(self, ref: str) -> Worker | None:
        """Find a living worker by its run id, or by a beginning of it. Raises bad-request."""
        if RunId(ref) in self.workers:
            return self.workers[RunId(ref)]
        if len(ref) < SHORTEST:
            return None
        found = [worker for run, worker in self.workers.items() if run.startswith(ref)]
        if len(found) > 1:
            raise SupervisorError(
                "bad-request",
                f"{ref!r} is the beginning of several runs",
                hint="Give more of the id; `supervisor ps` shows them.",
            )
        return found[0] if found else None

    def living(self, ref: str) -> Worker:
        """Give a living worker, as `worker` finds it. Raises not-found, bad-request."""
        worker = self.worker(ref)
        if worker is None:
            if (away := self.away(ref)) is not None:
                raise away.refusal()
            raise SupervisorError(
                "not-found",
                f"there is no living run or content {ref!r}",
                hint="`supervisor ps` shows what runs.",
            )
        return worker


async def stored_run(journal: Journal, ref: str) -> Run:
    """Find a run of the past by its id, or by a beginning of it. Raises not-found."""
    run = await journal.get("run", ref)
    if isinstance(run, Run):
        return run
    recent: Sequence[Run] = await journal.find("run", {}, newest_first=True, limit=1000)
    found = [run for run in recent if len(ref) >= SHORTEST and run.id.startswith(ref)]
    if len(found) != 1:
        raise SupervisorError(
            "not-found",
            f"there is no content or run {ref!r}",
            hint="`supervisor list` and `supervisor ps --all` show them.",
        )
    return found[0]
