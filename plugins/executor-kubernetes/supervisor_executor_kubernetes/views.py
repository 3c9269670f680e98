"""What this core knows of each run in the cluster, from the reflector's news of Pods."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
import trio

from supervisor import Exit, Pending, RunId
from supervisor_executor_kubernetes import status
from supervisor_executor_kubernetes.shape import RUN

Object = dict[str, Any]

REMEMBERED = 1000  # ends of runs whose Pods are gone, so that a second watch gives the same Exit


@attrs.define(eq=False, kw_only=True)
class View:
    """One run. pod: its newest form, kept when it is gone; exit: its end, once that is certain.

    asked: its end was ordered; ending: it is being deleted, by us or by somebody else; removed: we
    have deleted its Job. said: what the events of its Job or Pod tell while it waits.
    """

    run: RunId
    secret: str
    pod: Object | None = None
    gone: bool = False
    asked: bool = False
    ending: bool = False
    removed: bool = False
    said: str = ""
    doomed: Exit | None = None
    exit: Exit | None = None
    last: status.Seen = Pending()
    news: trio.Event = attrs.field(factory=trio.Event)

    def tell(self) -> None:
        """Wake whoever watches."""
        news, self.news = self.news, trio.Event()
        news.set()

    @property
    def is_silent(self) -> bool:
        """Whether it waits, and nothing but events can tell for what."""
        waits = isinstance(self.last, Pending) and self.exit is None
        return waits and (self.pod is None or status.is_silent(self._look(self.pod)))

    def seen(self) -> status.Seen:
        """Say where the run stands. The end that was told once stays."""
        if self.exit is None:
            self.last = self._now()
            if isinstance(self.last, Exit):
                self.exit = self.last
        return self.exit or self.last

    async def end(self) -> None:
        """Wait until it has ended."""
        while not isinstance(self.seen(), Exit):
            await self.news.wait()

    def _now(self) -> status.Seen:
        if self.gone:
            return self.doomed or status.gone(self.pod, asked=self.asked)
        seen: status.Seen = Pending() if self.pod is None else self._look(self.pod)
        if isinstance(seen, status.Doomed):
            self.doomed = self.doomed or seen.exit
        if self.doomed is not None:
            return self.doomed if isinstance(seen, Exit) else status.Doomed(self.doomed)
        if self.said and status.is_silent(seen):
            return Pending(reason=self.said)
        return seen

    def _look(self, pod: Object) -> status.Seen:
        return status.observe(pod, self.secret, asked=self.asked)


class Views:
    """All runs by id. lost: called once with a view whose Pod somebody else removes."""

    def __init__(self, secret: Callable[[RunId], str], lost: Callable[[View], None]) -> None:
        self._views: dict[RunId, View] = {}
        self._secret = secret
        self._lost = lost

    def of(self, run: RunId) -> View:
        """Give the view of a run; a new one where it was not known."""
        view = self._views.get(run)
        if view is None:
            view = self._views[run] = View(run=run, secret=self._secret(run))
        return view

    def known(self, run: RunId) -> View | None:
        """Give the view of a run that was seen, or asked for, before."""
        return self._views.get(run)

    def changed(self, old: Object | None, new: Object | None) -> None:
        """Take a reflector's news of a Pod."""
        pod = new or old or {}
        metadata = pod.get("metadata") or {}
        run = (metadata.get("labels") or {}).get(RUN)
        if not run:
            return
        view = self.of(RunId(run))
        if view.pod is not None and view.pod["metadata"]["uid"] != metadata.get("uid"):
            return  # Kubernetes made another Pod in place of the one that was removed
        view.pod = pod
        view.gone = new is None
        if (view.gone or "deletionTimestamp" in metadata) and not view.ending:
            view.ending = True
            self._lost(view)
        view.tell()

    def keep_only(self, pods: Iterable[Object]) -> None:
        """Take a first list: what was seen before and is not in it went while nobody looked."""
        there = {pod["metadata"]["uid"] for pod in pods}
        for view in list(self._views.values()):
            if view.pod is not None and view.pod["metadata"]["uid"] not in there and not view.gone:
                self.changed(view.pod, None)

    def trim(self) -> None:
        """Forget the oldest of those that are gone."""
        gone = [run for run, view in self._views.items() if view.gone and view.exit is not None]
        for run in gone[:-REMEMBERED]:
            del self._views[run]
