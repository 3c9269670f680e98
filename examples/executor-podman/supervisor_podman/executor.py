"""The executor: containers of podman, each looked after by its conmon, which outlives the core.

Commands that change something are tasks of serve(): whoever asked may be cancelled, and they go on.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import attrs
import trio

from supervisor import (
    Capabilities,
    Cause,
    Executor,
    Exit,
    Finding,
    Job,
    Lifetime,
    Observation,
    OutputChunk,
    Pending,
    PlaceRef,
    Purpose,
    Receipt,
    RunId,
    Running,
    SupervisorError,
    UnixEndpoint,
    Usage,
    layout,
)
from supervisor_podman import command, log, usage
from supervisor_podman.homes import Homes, give
from supervisor_podman.podman import Podman
from supervisor_podman.settings import PodmanSettings
from supervisor_podman.views import View, Views


@attrs.define(eq=False)
class _Start:
    """A `podman run` that is under way, and why it failed."""

    done: trio.Event = attrs.field(factory=trio.Event)
    error: SupervisorError | None = None


class PodmanExecutor(Executor):
    """Run content in podman containers.

    directory: where each run has a directory of its own, with its socket and its log.
    forget_after: seconds, at least, that a container stays after its Exit was taken.
    """

    name = "podman"
    capabilities = Capabilities(
        lifetime=Lifetime.NODE,
        purposes=frozenset({Purpose.SERVE}),
        limits=command.limits(()),
        output=True,
    )

    def __init__(
        self, *, settings: PodmanSettings, data_dir: str, directory: str, forget_after: float = 5.0
    ) -> None:
        self._settings = settings
        self._podman = Podman(settings.words)
        self._data_dir = data_dir
        self._homes = Homes(directory)
        self._views = Views(self._podman, data_dir, self._homes.is_stopped)
        self._forget_after = forget_after
        self._starts: dict[str, _Start] = {}
        self._taken: set[str] = set()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow podman's events; see Executor.serve. Also sets what is claimed on this host."""
        info = await self._podman.call("info", "--format={{json .Host.CgroupControllers}}")
        controllers = json.loads(info) or ()
        self.capabilities = attrs.evolve(
            self.capabilities, limits=command.limits(controllers), usage="memory" in controllers
        )
        os.makedirs(self._homes.top, mode=0o700, exist_ok=True)
        async with trio.open_nursery() as self._tasks:
            self._tasks.start_soon(self._forget)
            await self._views.serve(task_status=task_status)
            raise SupervisorError("executor-away", "`podman events` has ended", recoverable=True)

    # Starting

    async def start(self, job: Job) -> Receipt:
        """Start a container that is named after the run. See Executor.start."""
        if job.run not in self._views.known and job.run not in self._starts:
            self._starts[job.run] = _Start()
            self._tasks.start_soon(self._run, job)
        start = self._starts.get(job.run)
        if start is not None:
            await start.done.wait()
            if start.error is not None:
                raise start.error
        return self._receipt(job.run)

    async def _run(self, job: Job) -> None:
        start, uid = self._starts[job.run], job.uid or os.geteuid()
        try:
            self._check_limits(job)
            self._homes.make(job.run, uid)
            for place in command.places_to_make(job):
                self._make_place(place, uid)
            arguments = command.run_arguments(
                job, self._settings, data_dir=self._data_dir, home=self._homes.of(job.run), uid=uid
            )
            await self._podman.call(*arguments, stdin=command.variables(job.plan.env))
            await self._views.look()
        except SupervisorError as error:
            start.error = error
            await self._remove([job.run])
        except OSError as error:
            text = f"the directories of the run cannot be made: {error}"
            start.error = SupervisorError("start-failed", text)
        finally:
            del self._starts[job.run]
            start.done.set()

    def _check_limits(self, job: Job) -> None:
        wanted = attrs.asdict(job.limits, filter=lambda _, value: value is not None)
        if beyond := wanted.keys() - self.capabilities.limits:
            text = f"podman cannot enforce {', '.join(sorted(beyond))} here"
            raise SupervisorError("limit-unenforceable", text)

    # Watching

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        """Yield what podman says of the container, and Exit last. See Executor.watch."""
        view = await self._views.of(receipt.run)
        if view is None:
            yield Exit(cause=Cause.LOST, detail="podman has no container of this run")
            return
        view.watched = True
        told: Observation | None = None
        while not isinstance(told, Exit):
            news, now = view.news, self._observation(view)
            if now != told:
                told = now
                yield told
            else:
                await news.wait()
        self._taken.add(receipt.run)

    def _observation(self, view: View) -> Observation:
        container = view.container
        if view.exit is not None:
            return view.exit
        if container.pending:
            return Pending(reason="podman has not started it yet")
        endpoint = UnixEndpoint(
            directory=f"{self._homes.of(container.run)}/socket",
            name=layout.SOCKET_NAME,
            uid=container.uid,
        )
        return Running(endpoint=endpoint, pid=container.pid)

    async def list(self) -> Sequence[Receipt]:
        """Give a receipt of every container of this server, ended ones included."""
        for start in [*self._starts.values()]:
            await start.done.wait()
        await self._views.look()
        return [self._receipt(run) for run in self._views.known]

    def _receipt(self, run: str) -> Receipt:
        return Receipt(run=RunId(run), executor=self.name)

    # Ending

    async def stop(self, receipt: Receipt, grace: float) -> None:
        """Ask the process to end, then kill its container. See Executor.stop."""
        view = await self._views.of(receipt.run)
        if view is None:
            return
        if view.exit is None:
            self._tasks.start_soon(self._end, view, grace)
            await view.ended.wait()
        elif not view.watched:
            self._taken.add(receipt.run)

    async def _end(self, view: View, grace: float) -> None:
        with suppress(FileNotFoundError):  # it is being forgotten
            self._homes.mark_stopped(view.container.run)
        if grace > 0:
            await self._kill(view, view.container.stop_signal)
            with trio.move_on_after(grace):
                await view.ended.wait()
        if view.exit is None:
            await self._kill(view, "KILL")

    async def _kill(self, view: View, signal: str) -> None:
        name = command.name(view.container.run)
        if view.container.pending:  # a core died between making it and starting it
            await self._remove([view.container.run])
            return
        with suppress(SupervisorError):  # it ended a moment ago
            await self._podman.call("kill", f"--signal={signal}", name)

    async def _forget(self) -> None:
        while True:
            await trio.sleep(self._forget_after)
            taken, self._taken = self._taken, set()
            await self._remove(taken)

    async def _remove(self, runs: Iterable[str]) -> None:
        for run in runs:
            try:
                await self._podman.call("rm", "--force", "--ignore", "--time=0", command.name(run))
                self._homes.remove(run)
            except SupervisorError:  # another time
                self._taken.add(run)
        if runs:
            await self._views.look()

    # What it writes and uses

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        """Yield what the run writes; a cursor is a place in its log. See Executor.output."""
        view = await self._views.of(receipt.run)
        if view is None:
            return
        path = f"{self._homes.of(receipt.run)}/log"
        async for chunk in log.follow(path, cursor, lambda: view.exit is not None):
            yield chunk

    async def usage(self, runs: Iterable[RunId]) -> Mapping[RunId, Usage]:
        """Give what the living among these runs use. See Executor.usage."""
        used = usage.read(await self._podman.call(*usage.ARGUMENTS))
        return {run: used[command.name(run)] for run in runs if command.name(run) in used}

    # Places

    async def prepare(self, place: PlaceRef, content: int, uid: int) -> None:
        """Make the directory of a place, owned by a content's uid."""
        self._make_place(place, uid or os.geteuid())

    def _make_place(self, place: PlaceRef, uid: int) -> None:
        path = Path(command.path(self._data_dir, place))
        path.mkdir(parents=True, exist_ok=True)
        give(path, uid, 0o750)

    async def remove(self, place: PlaceRef) -> None:
        """Remove a place and all beneath it."""
        path = command.path(self._data_dir, place)
        await trio.to_thread.run_sync(lambda: shutil.rmtree(path, ignore_errors=True))

    async def check(self) -> Sequence[Finding]:
        """Say whether podman works here, and whether it has the images."""
        try:
            version = await self._podman.call("info", "--format={{.Version.Version}}")
        except SupervisorError as error:
            why, fix = error.message, error.hint
            return [Finding(name="podman", ok=False, text=why, fix=fix, fatal=True)]
        findings = [Finding(name="podman", ok=True, text=f"podman {version.strip()}")]
        for image in self._settings.images.values():
            try:
                await self._podman.call("image", "exists", image)
                findings.append(Finding(name=f"image {image}", ok=True, text="it is there"))
            except SupervisorError:
                fix = f"podman pull {image}"
                findings.append(Finding(name=f"image {image}", ok=False, text="missing", fix=fix))
        return findings
