"""What this core knows of its containers: what is true stands in `podman ps`."""

from __future__ import annotations

from collections.abc import Callable

import trio

from supervisor import Cause, Exit
from supervisor_podman.container import SERVER, Container, containers
from supervisor_podman.podman import Podman


class View:
    """One container. news is replaced by another event whenever something has changed."""

    def __init__(self, container: Container) -> None:
        self.container = container
        self.exit: Exit | None = None
        self.news = trio.Event()
        self.ended = trio.Event()
        self.watched = False

    def see(self, container: Container, *, stopped: bool) -> None:
        """Be told what podman says now; stopped: whether we asked it to end."""
        if self.exit is not None or (container == self.container and not container.ended):
            return
        self.container = container
        if container.ended:
            self.end(container.exit(stopped=stopped))
        news, self.news = self.news, trio.Event()
        news.set()

    def end(self, exit: Exit) -> None:
        """Be told how it ended; of several ends the first counts."""
        if self.exit is None:
            self.exit = exit
            self.ended.set()
            self.news.set()


class Views:
    """The containers of one server, by run. stopped: tells whether somebody asked a run to end."""

    def __init__(self, podman: Podman, server: str, stopped: Callable[[str], bool]) -> None:
        self._podman = podman
        self._filter = f"label={SERVER}={server}"
        self._stopped = stopped
        self._looking = trio.Lock()
        self.known: dict[str, View] = {}

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Look again whenever podman's events say that something has changed; until they end."""
        which = ("event=start", "event=died", "event=remove")
        async with self._podman.events(self._filter, *which) as bell:
            await self.look()
            task_status.started()
            async for _ in bell:
                await self.look()

    async def look(self) -> None:
        """Bring the views up to date. What is gone without a word is lost."""
        async with self._looking:  # or an older listing might come after a newer one
            listing = await self._podman.call(
                "ps", "--all", f"--filter={self._filter}", "--format=json"
            )
            there = {container.run: container for container in containers(listing)}
            for run in self.known.keys() - there.keys():
                self.known.pop(run).end(Exit(cause=Cause.LOST, detail="its container was removed"))
            for run, container in there.items():
                view = self.known.setdefault(run, View(container))
                view.see(container, stopped=self._stopped(run))

    async def of(self, run: str) -> View | None:
        """Give the view of a run; None where podman has no container of it."""
        if run not in self.known:
            await self.look()
        return self.known.get(run)
