"""A running server for tests: a real core in this process, a real gateway beside it.

It needs no root, no installed plugin and no settings: the store is in memory and outlives the core,
as a database would. Plugins are objects with hooks; the ones under test come first.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import trio

from supervisor.api.access import api_settings
from supervisor.api.server import serve_api
from supervisor.core.control import Control
from supervisor.core.server import Server, Sockets, context_of
from supervisor.core.service import RunView, Service
from supervisor.interfaces import Store
from supervisor.layout import RUN_SOCKETS
from supervisor.log import Log
from supervisor.parent.child import sealed
from supervisor.parent.directories import CORE_OWNED, ROOT_OWNED
from supervisor.plugins.loading import Plugins
from supervisor.settings import Settings, configure, parse
from supervisor.testing.bundles import MadeBundle
from supervisor.testing.fakes import MemoryStore
from supervisor.testing.tiny import TinyPlugin, TinyRuntime
from supervisor.testing.visits import Answer, get

START = 30.0  # seconds for a core, and for a gateway
_POLL = 0.05


class RunningServer:
    """A server on a directory of its own. service: the running core's, what its API calls.

    url: where its gateway listens; log: the service log of the core, lines of JSON.
    """

    def __init__(
        self, settings: Settings, plugins: Sequence[tuple[str, object]], http: socket.socket
    ) -> None:
        self._settings = settings
        self._plugins = plugins
        self._http = http
        self._core: trio.CancelScope | None = None
        self._ended = trio.Event()
        self._listeners: dict[str, socket.socket] = {}
        self._service: Service | None = None
        self.log_path = Path(settings.run_dir, "core.log")
        self.port: int = http.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.nursery: trio.Nursery | None = None

    @property
    def service(self) -> Service:
        """What the API of the running core calls."""
        assert self._service is not None, "no core runs"
        return self._service

    @property
    def log(self) -> str:
        """The service log so far."""
        return self.log_path.read_text("utf-8", "replace")

    # Its life

    async def start_core(self) -> None:
        """Start a core on the same sockets and store; returns once it answers."""
        assert self.nursery is not None
        assert self._core is None, "a core runs already"
        self._ended = trio.Event()
        with trio.fail_after(START):
            await self.nursery.start(self._run_core)

    async def kill_core(self) -> None:
        """Let the core end where it stands: it tells nobody, and what it runs it leaves alone."""
        assert self._core is not None, "no core runs"
        self._core.cancel()
        await self._ended.wait()

    async def _run_core(self, *, task_status: trio.TaskStatus[None]) -> None:
        fd = os.open(self.log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC)
        log = Log("core", form="JSON", fd=fd)
        plugins = Plugins(log=log)
        control = Control(sock=None, log=log)
        try:
            with trio.CancelScope() as self._core:
                await plugins.load(context_of(self._settings), extra=self._plugins, installed=False)
                server = Server(
                    settings=self._settings,
                    sockets=Sockets(
                        core=self._listeners["core"].dup(), link=self._listeners["link"].dup()
                    ),
                    control=control,
                    plugins=plugins,
                    log=log,
                    serve_api=partial(self._serve_api, started=task_status, log=log),
                )
                await server.run()
        finally:
            os.close(fd)
            self._core = self._service = None
            self._ended.set()

    async def _serve_api(
        self,
        listener: socket.socket,
        service: Service,
        *,
        started: trio.TaskStatus[None],
        log: Log,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
        **more: Any,  # what a core gives its API besides
    ) -> None:
        self._service = service
        async with trio.open_nursery() as nursery:
            settings = api_settings(self._settings)
            await nursery.start(partial(serve_api, listener, service, settings, log=log, **more))
            task_status.started()
            started.started()

    @asynccontextmanager
    async def _gateway(self) -> AsyncIterator[None]:
        run_dir = Path(self._settings.run_dir)
        settings = sealed("settings", self._settings.to_json(entries=False))
        fds = {"settings": settings, "http-0": self._http.fileno()}
        command = [sys.executable, "-I", "-m", "supervisor.gateway"]
        for name, fd in fds.items():
            command += ["--fd", f"{name}={fd}"]
        with (run_dir / "gateway.log").open("ab") as log:
            process = await trio.lowlevel.open_process(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[*fds.values()]
            )
        os.close(settings)
        try:
            yield
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    # What can be done with it

    async def deploy(self, name: str, bundle: MadeBundle) -> str:
        """Deploy a bundle to the content of that name; give the path of its URL.

        The content is made where there is none. AssertionError where the deployment fails.
        """
        names = {view.content.name for view in await self.service.contents()}
        if name not in names:
            await self.service.create_content(name)

        async def chunks() -> AsyncIterator[bytes]:
            yield bundle.archive()

        stored = await self.service.receive_bundle(name, chunks())
        task = await self.service.deploy(name, stored.id)
        with trio.fail_after(START * 4):
            while not task.finished:
                task = await self.service.task(task.id, wait=1.0)
        assert task.code == 0, f"{task.error}\n" + "\n".join(task.output)
        return f"/content/{(await self.service.content(name)).content.guid}/"

    async def get(self, path: str, *, cookie: str = "") -> Answer:
        """Ask for a page as a browser would; cookie: `Answer.cookie` of an earlier visit."""
        return await get(self.port, path, cookie=cookie)

    async def visit(self, path: str, text: str, *, seconds: float = START) -> Answer:
        """Ask until the answer begins with a text: a process may have to be started first."""
        answer = None
        with trio.move_on_after(seconds):
            while True:
                with suppress(OSError, EOFError):
                    answer = await self.get(path)
                    if answer.status == 200 and answer.text.startswith(text):
                        return answer
                await trio.sleep(_POLL)
        raise AssertionError(f"after {seconds:.0f} s the answer was {answer}\n{self.log}")

    async def runs(self, name: str) -> Sequence[RunView]:
        """Give the living runs of a content."""
        return await self.service.runs(name)


@asynccontextmanager
async def running_server(
    directory: Path,
    *plugins: object,
    settings: str = "",
    store: Store | None = None,
    runtime: TinyRuntime | None = None,
    data_dir: Path | None = None,
) -> AsyncIterator[RunningServer]:
    """Run a server while the block does; content of executors that outlive it may stay.

    directory: an empty one with a short path. plugins: objects (or modules) with hooks, the first
    executor that can serve is used. settings: text of a configuration file. store: where the
    records are kept, by default in memory. data_dir: by default below the directory.
    """
    run_dir, data_dir = directory / "run", data_dir or directory / "data"
    for path in (run_dir / "core", run_dir / RUN_SOCKETS):
        path.mkdir(parents=True)
    data_dir.mkdir(exist_ok=True)
    for name in (*CORE_OWNED, *ROOT_OWNED):
        _make_like(data_dir / name, data_dir.stat())
    tiny = TinyPlugin(store=store or MemoryStore(), runtime=runtime or TinyRuntime())
    named = [(_name(plugin, number), plugin) for number, plugin in enumerate(plugins)]
    with socket.create_server(("127.0.0.1", 0), backlog=128) as http:
        made = _settings(settings, run_dir=run_dir, data_dir=data_dir, port=http.getsockname()[1])
        server = RunningServer(made, [*named, ("supervisor-testing", tiny)], http)
        with (
            _listening(run_dir / "core.sock", socket.SOCK_STREAM) as core,
            _listening(run_dir / "link.sock", socket.SOCK_SEQPACKET) as link,
        ):
            server._listeners = {"core": core, "link": link}
            async with trio.open_nursery() as nursery, server._gateway():
                server.nursery = nursery
                await server.start_core()
                yield server
                nursery.cancel_scope.cancel()


def _make_like(path: Path, other: os.stat_result) -> None:
    """Make a directory of another one's owner: the executor may run as somebody else."""
    if not path.exists():
        path.mkdir()
        if path.stat().st_uid != other.st_uid:
            os.chown(path, other.st_uid, other.st_gid)


def _name(plugin: object, number: int) -> str:
    return getattr(plugin, "__name__", f"{type(plugin).__name__}-{number}")


def _listening(path: Path, kind: socket.SocketKind) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.bind(os.fspath(path))
    sock.listen(128)
    return sock


def _settings(text: str, *, run_dir: Path, data_dir: Path, port: int) -> Settings:
    uid, gid = os.getuid(), os.getgid()
    base = f"[HTTP]\nListen = 127.0.0.1:{port}\n[Database]\nProvider = testing\n"
    return Settings.of(
        configure(parse(f"{base}{text}", "settings")),
        data_dir=os.fspath(data_dir),
        run_dir=os.fspath(run_dir),
        rootless=True,
        tier="rootless",
        core_uid=uid,
        core_gid=gid,
        gateway_uid=uid,
        gateway_gid=gid,
        install_uid=uid,
        install_gid=gid,
        admin_gid=None,
    )
