"""Runs a runtime's plan as a plain process, with the sandbox's paths put into a directory."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from supervisor import (
    Content,
    Deployment,
    Installation,
    Plan,
    PlanContext,
    Purpose,
    Runtime,
    layout,
)
from supervisor.model import BundleId, ContentId, DeploymentId, Guid
from tests.support.shiny_client import Answer, Visitor


@attrs.frozen(kw_only=True)
class Served:
    """A process that serves content. root: where its sandbox paths lie."""

    plan: Plan
    root: Path
    process: trio.Process

    @property
    def socket(self) -> Path:
        """Where it listens."""
        return self.root / "socket" / layout.SOCKET_NAME

    @property
    def log(self) -> str:
        """All that it wrote."""
        return (self.root / "log").read_text("utf-8", "replace")

    @property
    def visitor(self) -> Visitor:
        """A new visitor of it."""
        return Visitor("http://app.example/", socket=str(self.socket))

    def cpu(self) -> float:
        """Seconds of CPU that it used, with those children that it has waited for."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(") ")[2].split()
        return sum(map(int, stat[11:15])) / os.sysconf("SC_CLK_TCK")

    async def pulse(self) -> Answer:
        """Ask whether it computes, as the core does."""
        assert self.plan.ready is not None
        assert self.plan.ready.pulse is not None
        return await self.visitor.get(self.plan.ready.pulse)

    async def listening(self, seconds: float = 60.0) -> None:
        """Wait until it accepts connections or has ended."""
        with trio.fail_after(seconds):
            while self.process.poll() is None:
                try:
                    await (await trio.open_unix_socket(str(self.socket))).aclose()
                    return
                except OSError:
                    await trio.sleep(0.01)


async def pulse_stops_while_it_computes(app: Served) -> None:
    """Check the pulse of an app whose page writes "drawn" to its log, at rest and computing.

    Its output is `value`, "here" at first; the input `long` lets it compute without end.
    """
    await app.listening()
    assert 404 == (await app.pulse()).status
    assert "drawn" not in app.log
    async with app.visitor.session(["value"]) as session:
        assert "here" == await session.value("value")
        await session.update(long=1)
        await session.computing()
        with trio.move_on_after(0.5) as patience:
            await app.pulse()
        assert patience.cancelled_caught


def plan_for(
    runtime: Runtime,
    installation: Installation,
    *,
    entrypoint: str = "app",
    purpose: Purpose,
    app_mode: str = "",
) -> Plan:
    """Ask a runtime for a plan about some content."""
    return runtime.plan(
        purpose,
        PlanContext(
            content=Content(id=ContentId(1), guid=Guid("g"), name="tested"),
            deployment=Deployment(
                id=DeploymentId(1),
                content=ContentId(1),
                bundle=BundleId(1),
                runtime=runtime.name,
                app_mode=app_mode,
                entrypoint=entrypoint,
            ),
            installation=installation,
        ),
    )


@asynccontextmanager
async def served(
    plan: Plan, source: Path, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Served]:
    """Start a plan on a copy of `source`; its process group is killed at the end."""
    root = Path(tempfile.mkdtemp(prefix="cs-"))  # short: a socket's path has at most 107 bytes

    def here(path: str) -> str:
        home = f"{root}/home" if path == layout.at(layout.Role.HOME) else path
        return home.replace(layout.MOUNT_ROOT, str(root))

    _prepare(root, source, [here(mount.at) for mount in plan.mounts])
    with (root / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            [here(argument) for argument in plan.argv],
            env={key: here(text) for key, text in plan.env.items()} | dict(environment or {}),
            cwd=here(plan.workdir),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        yield Served(plan=plan, root=root, process=process)
    finally:
        with trio.CancelScope(shield=True):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        shutil.rmtree(root)


def _prepare(root: Path, source: Path, places: Sequence[str]) -> None:
    shutil.copytree(source, root / "app")
    for place in places:
        Path(place).mkdir(exist_ok=True)
