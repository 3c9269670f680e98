"""FakeService: a core without processes, for tests of the API and the command line."""

from __future__ import annotations

import argparse
import os
import re
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from hashlib import sha256
from pathlib import Path

import attrs
import trio

from supervisor import bounds
from supervisor.core.retention import Going
from supervisor.core.service import (
    Assignment,
    ContentView,
    LeaseView,
    LogLine,
    PluginView,
    RunView,
    Service,
    SessionView,
)
from supervisor.errors import SupervisorError
from supervisor.interfaces import Finding
from supervisor.lifecycle import State
from supervisor.model import (
    Bundle,
    BundleId,
    Content,
    ContentId,
    DeploymentId,
    Overrides,
    Purpose,
    Run,
    RunId,
    Scaling,
    Task,
    new_guid,
    new_job_key,
    new_run_id,
)

DEPLOY_LINES = ("Unpacking the bundle", "Looking for an app: found app.py", "Started")


class FakeService(Service):
    """Keep everything in dicts. A deployed content gets one run that is ready and logs two lines.

    fail_deploy: the error every deployment ends with. surprise: raised by contents(), as a defect.
    hold_uploads: uploads wait for it after their first piece. followers and uploads count those
    that are under way. bundles holds sizes and digests, never bytes.
    """

    def __init__(self) -> None:
        self.views: dict[str, ContentView] = {}
        self.run_views: dict[str, RunView] = {}
        self.session_views: list[SessionView] = []
        self.lease_views: list[LeaseView] = []
        self.bundles: dict[int, Bundle] = {}
        self.tasks: dict[str, Task] = {}
        self.lines: list[LogLine] = []
        self.calls: list[tuple[str, str]] = []
        self.followers = 0
        self.uploads = 0
        self.hold_uploads: trio.Event | None = None
        self.fail_deploy: SupervisorError | None = None
        self.surprise: Exception | None = None
        self.backup_pieces: list[bytes] = []
        self._news = trio.Condition()

    async def contents(self) -> Sequence[ContentView]:
        """Give all contents by name."""
        if self.surprise is not None:
            raise self.surprise
        return sorted(self.views.values(), key=lambda view: view.content.name)

    async def content(self, ref: str) -> ContentView:
        """Find by guid, name or id."""
        for view in self.views.values():
            if ref in (view.content.guid, view.content.name, str(view.content.id)):
                return view
        raise SupervisorError("not-found", f"There is no content '{ref}'.")

    async def create_content(self, name: str, title: str = "") -> Content:
        """Make an empty content."""
        if not re.fullmatch(r"[A-Za-z0-9_-]{3,64}", name):
            raise SupervisorError("bad-request", f"'{name}' is not a name for a content.")
        if any(view.content.name == name for view in self.views.values()):
            raise SupervisorError("conflict", f"There is a content '{name}' already.")
        number = ContentId(len(self.calls) + len(self.views) + 1)
        content = Content(id=number, guid=new_guid(), name=name, title=title, created=time.time())
        self.views[content.guid] = ContentView(content=content, state="empty")
        self.calls.append(("create", name))
        return content

    async def retitle(self, ref: str, title: str) -> None:
        """Change the title."""
        view = await self.content(ref)
        self._keep(attrs.evolve(view, content=attrs.evolve(view.content, title=title)))

    async def receive_bundle(
        self, ref: str, chunks: AsyncIterator[bytes], *, size: int = 0
    ) -> Bundle:
        """Count and digest the bytes."""
        view = await self.content(ref)
        size, digest = 0, sha256()
        self.uploads += 1
        try:
            async for chunk in chunks:
                size += len(chunk)
                digest.update(chunk)
                if self.hold_uploads is not None:
                    await self.hold_uploads.wait()
        finally:
            self.uploads -= 1
        bundle = Bundle(
            id=BundleId(len(self.bundles) + 1),
            content=view.content.id,
            digest=digest.hexdigest(),
            size=size,
            created=time.time(),
        )
        self.bundles[bundle.id] = bundle
        return bundle

    async def deploy(self, ref: str, bundle: int | None = None) -> Task:
        """Finish at once, or fail with `fail_deploy`."""
        view = await self.content(ref)
        if bundle is not None and bundle not in self.bundles:
            raise SupervisorError("not-found", f"There is no bundle {bundle}.")
        task = Task(id=new_job_key(), content=view.content.id, created=time.time(), finished=True)
        if self.fail_deploy is not None:
            task = attrs.evolve(task, output=DEPLOY_LINES[:1], code=1, error=str(self.fail_deploy))
        else:
            task = attrs.evolve(task, output=DEPLOY_LINES)
            newest = bundle or max(self.bundles)
            deployed = attrs.evolve(view.content, active_deployment=DeploymentId(newest))
            self._keep(
                ContentView(
                    content=deployed,
                    state="running",
                    url=f"/content/{deployed.guid}/",
                    bundle=newest,
                    processes=1,
                )
            )
            self._start_run(deployed)
        self.tasks[task.id] = task
        self.calls.append(("deploy", view.content.name))
        return task

    async def task(self, task_id: str, *, first: int = 0, wait: float = 0.0) -> Task:
        """Show one line a call, so that clients must poll."""
        task = self.tasks.get(task_id)
        if task is None:
            raise SupervisorError("not-found", f"There is no task '{task_id}'.")
        shown = task.output[first : first + 1]
        more = first + len(shown) < len(task.output)
        return attrs.evolve(
            task,
            output=shown,
            finished=not more,
            code=0 if more else task.code,
            error="" if more else task.error,
        )

    async def leases(self) -> Sequence[LeaseView]:
        """Give what a test has put there."""
        return self.lease_views

    async def runs(self, ref: str | None = None, *, ended: bool = False) -> Sequence[RunView]:
        """Give the runs, newest first."""
        guid = (await self.content(ref)).content.guid if ref is not None else None
        chosen = [
            view
            for view in self.run_views.values()
            if guid in (None, view.content_guid) and (ended or view.run.ended is None)
        ]
        return sorted(chosen, key=lambda view: view.run.id, reverse=True)

    async def logs(
        self, ref: str, *, follow: bool = False, tail: int = 100
    ) -> AsyncGenerator[LogLine, None]:
        """Give the last lines, then those that `write` adds."""
        run = await self._run_of(ref)
        self.followers += 1
        try:
            seen = len(self.lines)  # what is written while we yield is news
            mine = [line for line in self.lines if line.run == run]
            for line in mine[-tail:] if tail else []:
                yield line
            while follow:
                async with self._news:
                    while len(self.lines) == seen:
                        await self._news.wait()
                seen, news = len(self.lines), self.lines[seen:]
                for line in news:
                    if line.run == run:
                        yield line
        finally:
            self.followers -= 1

    async def write(self, ref: str, text: str, stream: str = "stdout") -> None:
        """Let a run write one line."""
        run = await self._run_of(ref)
        async with self._news:
            self.lines.append(LogLine(run=run, stream=stream, at=time.time(), text=text))
            self._news.notify_all()

    async def stop(self, ref: str) -> None:
        """Note the call; a content becomes stopped."""
        self.calls.append(("stop", ref))
        if ref not in self.run_views:
            self._keep(attrs.evolve(await self.content(ref), state="stopped"))

    async def scale(self, ref: str, overrides: Overrides) -> None:
        """Replace the overrides, within the bounds of the default settings."""
        view = await self.content(ref)
        bounds.check(overrides.over(Scaling()), least_limit=10, most_limit=20)
        content = attrs.evolve(view.content, scaling=overrides)
        scaling = overrides.over(Scaling())
        self.views[content.guid] = attrs.evolve(view, content=content, scaling=scaling)
        self.calls.append(("scale", ref))

    async def assign(self, ref: str, to: Assignment) -> None:
        """Set it; there are the executors "fake" and "other"."""
        view = await self.content(ref)
        if to.executor not in (None, "fake", "other"):
            raise SupervisorError("no-executor", f"There is no executor '{to.executor}'.")
        content = attrs.evolve(view.content, **attrs.asdict(to, recurse=False))
        self._keep(attrs.evolve(view, content=content))
        self.calls.append(("assign", ref))

    async def sessions(self, ref: str | None = None) -> Sequence[SessionView]:
        """Give what was put into session_views."""
        return [v for v in self.session_views if ref in (None, v.content_guid, v.content_name)]

    async def reload(self) -> None:
        """Note it."""
        self.calls.append(("reload", ""))

    async def restart(self, ref: str, *, rolling: bool = False) -> None:
        """Note the call; the content runs."""
        self._keep(attrs.evolve(await self.content(ref), state="running"))
        self.calls.append(("restart-rolling" if rolling else "restart", ref))

    async def kill(self, ref: str) -> None:
        """End the run."""
        run = await self._run_of(ref)
        view = self.run_views[run]
        ended = attrs.evolve(view.run, state=State.FAILED, ended=time.time(), reason="killed")
        self.run_views[run] = attrs.evolve(view, run=ended, pid=None)
        self.calls.append(("kill", run))

    async def remove(self, ref: str) -> None:
        """Forget the content and its runs."""
        guid = (await self.content(ref)).content.guid
        del self.views[guid]
        for run, view in list(self.run_views.items()):
            if view.content_guid == guid:
                del self.run_views[run]
        self.calls.append(("remove", ref))

    async def clean(self, *, dry: bool = False) -> Sequence[Going]:
        """Give two things that go, once."""
        self.calls.append(("clean", "dry" if dry else ""))
        return [
            Going(kind="bundle", name="1", content=ContentId(1), size=1000, reason="never served"),
            Going(kind="run", name="01k", content=ContentId(1), reason="ended long ago"),
        ]

    async def backup(self) -> AsyncGenerator[bytes, None]:
        """Yield `backup_pieces`."""
        for piece in self.backup_pieces:
            yield piece

    async def findings(self) -> Sequence[Finding]:
        """Give one good and one bad finding."""
        return [
            Finding(name="kernel", ok=True, text="new enough"),
            Finding(name="disk", ok=False, text="nearly full", fix="make room"),
        ]

    async def plugins(self) -> Sequence[PluginView]:
        """Give one good and one broken plugin."""
        return [
            PluginView(name="good", version="1.0", gives=("runtime one",)),
            PluginView(name="broken", version="0.1", problem="could not be imported"),
        ]

    def _keep(self, view: ContentView) -> None:
        self.views[view.content.guid] = view

    def _start_run(self, content: Content) -> None:
        now = time.time()
        run = Run(
            id=new_run_id(),
            key=new_job_key(),
            content=content.id,
            purpose=Purpose.SERVE,
            state=State.READY,
            executor="fake",
            created=now,
        )
        self.run_views[run.id] = RunView(
            run=run,
            content_name=content.name,
            content_guid=content.guid,
            pid=4711,
            cpu=1.5,
            memory=123_456_789,
            processes=2,
        )
        for text in ("starting", "listening"):
            self.lines.append(LogLine(run=run.id, stream="stderr", at=now, text=text))

    async def _run_of(self, ref: str) -> RunId:
        for view in sorted(self.run_views.values(), key=lambda view: view.run.id, reverse=True):
            names = (view.content_guid, view.content_name)
            if ref in names or (len(ref) >= 4 and view.run.id.startswith(ref)):
                return view.run.id
        raise SupervisorError("not-found", f"There is no run or content '{ref}'.")


async def _serve(path: Path, max_bundle: int) -> None:
    from supervisor.api.access import ApiSettings
    from supervisor.api.server import serve_api
    from supervisor.log import Log

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        os.chmod(path, 0o666)
        listener.listen(64)
        settings = ApiSettings(
            core_uid=os.getuid(),
            gateway_uid=-1,
            max_bundle=max_bundle,
        )
        await serve_api(listener.detach(), FakeService(), settings, log=Log("core"))


def main() -> None:
    """Serve a FakeService on a socket: `python -m supervisor.testing.fakes_service SOCKET`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("socket", type=Path)
    parser.add_argument("--max-bundle", type=int, default=2**32)
    arguments = parser.parse_args()
    trio.run(_serve, arguments.socket, arguments.max_bundle)


if __name__ == "__main__":
    main()
