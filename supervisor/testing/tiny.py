"""A language for tests: a bundle with `tiny.txt` is an app that answers every visitor with it.

The program is programs.TELLS, run by an interpreter of the executor's, so that content of any
executor can be told from another's: it answers `{text} {id}`, with an id that each process makes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import trio

from supervisor import layout
from supervisor.errors import SupervisorError
from supervisor.interfaces import (
    Capabilities,
    Detected,
    Executor,
    Installation,
    Lifetime,
    OutputChunk,
    PlanContext,
    Runtime,
    SourceFile,
    Store,
)
from supervisor.layout import PlaceRef, Role
from supervisor.model import (
    Access,
    Cause,
    ContentId,
    ContentKind,
    Exit,
    Job,
    Mount,
    Observation,
    Plan,
    Purpose,
    Ready,
    Receipt,
    RunId,
    Running,
    place_key,
)
from supervisor.plugins.hookspecs import Context, hookimpl
from supervisor.testing import programs
from supervisor.testing.bundles import MadeBundle

__all__ = ["TinyPlugin", "TinyRuntime", "Unpacker", "tiny_bundle"]

FILE = "tiny.txt"


def tiny_bundle(text: str) -> MadeBundle:
    """Make a bundle that answers with a text, of one line."""
    return MadeBundle(files={FILE: text, "tiny.yml": f"{text}\n"})


class TinyRuntime(Runtime):
    """Serves tiny bundles. shell, python: where processes find them; rule: when they are ready.

    shows_source: whether processes see the deployment; else they answer with the entry point.
    """

    name = "tiny"
    looks_for = "tiny.yml"

    def __init__(
        self,
        *,
        shell: str = "/bin/sh",
        python: str = "/usr/bin/python3",
        rule: Ready | None = None,
        shows_source: bool = True,
    ) -> None:
        self._shell, self._python, self._rule = shell, python, rule or Ready()
        self._roles = (Role.SOURCE, Role.SOCKET) if shows_source else (Role.SOCKET,)

    def detect(self, files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
        """Recognise tiny.yml."""
        text = next((file.text for file in files if file.path == "tiny.yml"), None)
        if text is None:
            return None
        return Detected(
            runtime=self.name, kind=ContentKind.APP, app_mode="tiny", entrypoint=text.strip()
        )

    def installations(self, settings: Mapping[str, Sequence[str]]) -> Sequence[Installation]:
        """Give the interpreter of the executor's; it need not exist here."""
        return [Installation(runtime=self.name, version="1", executable=self._python)]

    def plan(self, purpose: Purpose, context: PlanContext) -> Plan:
        """Say how to serve it."""
        if purpose is not Purpose.SERVE:
            raise SupervisorError("no-runtime", f"a tiny app cannot {purpose.value}")
        file = f"{layout.at(Role.SOURCE)}/{FILE}" if Role.SOURCE in self._roles else ""
        return Plan(
            argv=programs.TELLS.command(shell=self._shell, python=self._python),
            env={"TINY_FILE": file, "TINY_TEXT": context.deployment.entrypoint},
            workdir="/tmp",
            mounts=tuple(
                Mount(role=role, access=Access.WRITE, at=layout.at(role)) for role in self._roles
            ),
            ready=self._rule,
        )


@attrs.define(eq=False)
class _Done:
    status: int
    stdout: bytes
    stderr: bytes


class Unpacker(Executor):
    """Unpacks made bundles as this process, without a sandbox; nothing else, and for tests only."""

    name = "testing-unpacker"
    capabilities = Capabilities(
        lifetime=Lifetime.CORE, purposes=frozenset({Purpose.UNPACK}), output=True
    )

    def __init__(self, data_dir: str) -> None:
        self._data_dir = Path(data_dir)
        self._done: dict[RunId, _Done] = {}

    def _path(self, place: PlaceRef) -> Path:
        return self._data_dir.joinpath(*layout.components(place))

    async def start(self, job: Job) -> Receipt:
        """Unpack it; returns when that is done."""
        at = {mount.at: job.places[place_key(mount)] for mount in job.plan.mounts}
        *options, archive, target = job.plan.argv[1:]
        await self.prepare(at[target], job.content, 0)
        done = await trio.run_process(
            [sys.executable, *options, os.fspath(self._path(at[archive])), self._path(at[target])],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_stdout=True,
            capture_stderr=True,
        )
        self._done[job.run] = _Done(done.returncode, done.stdout, done.stderr)
        return Receipt(run=job.run, executor=self.name)

    async def watch(self, receipt: Receipt) -> AsyncGenerator[Observation, None]:
        """Tell how it was."""
        await trio.lowlevel.checkpoint()
        done = self._done.get(receipt.run)
        if done is None:
            yield Exit(cause=Cause.LOST)
            return
        yield Running()
        cause = Cause.FAILED if done.status else Cause.FINISHED
        yield Exit(code=done.status, cause=cause)
        self._done.pop(receipt.run, None)

    async def stop(self, receipt: Receipt, grace: float) -> None:
        """It has ended already."""
        await trio.lowlevel.checkpoint()

    async def list(self) -> Sequence[Receipt]:
        """Give those whose end was not told."""
        await trio.lowlevel.checkpoint()
        return [Receipt(run=run, executor=self.name) for run in self._done]

    async def output(self, receipt: Receipt, cursor: str = "") -> AsyncGenerator[OutputChunk, None]:
        """Give the listing."""
        await trio.lowlevel.checkpoint()
        done = self._done.get(receipt.run)
        if done is not None and not cursor:
            yield OutputChunk(stream="stderr", data=done.stderr, cursor="1")
            yield OutputChunk(stream="stdout", data=done.stdout, cursor="2")

    async def prepare(self, place: PlaceRef, content: ContentId, uid: int) -> None:
        """Make a directory that everybody may use: no uid is to be had in a test."""

        def make() -> None:
            path = self._path(place)
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o777)

        await trio.to_thread.run_sync(make)

    async def remove(self, place: PlaceRef) -> None:
        """Remove it."""
        await trio.run_process(["/bin/rm", "-rf", self._path(place)])


class TinyPlugin:
    """The hooks of what a server for tests has beside the plugins that are tested."""

    def __init__(self, *, store: Store, runtime: TinyRuntime) -> None:
        self._store, self._runtime = store, runtime

    @hookimpl
    def supervisor_runtimes(self) -> Sequence[Runtime]:
        """Give the tiny runtime."""
        return [self._runtime]

    @hookimpl
    def supervisor_executors(self, context: Context) -> Sequence[Executor]:
        """Give the unpacker, which is used where no executor before it can unpack."""
        return [Unpacker(context.data_dir)]

    @hookimpl
    def supervisor_stores(self) -> Mapping[str, Any]:
        """Give the store, which outlives the core."""
        return {"testing": lambda context: self._store}
