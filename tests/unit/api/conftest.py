"""A real server on a real socket, with a fake core behind it."""

from __future__ import annotations

import io
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from pathlib import Path

import attrs
import httpx2
import pytest
import trio

from supervisor.api.access import ApiSettings
from supervisor.api.audit import Parent
from supervisor.api.server import serve_api
from supervisor.core.configured import Configured
from supervisor.log import Log
from supervisor.testing.fakes_service import FakeService


@attrs.frozen(kw_only=True)
class Served:
    """A server under test: its socket, the core behind it, and what it has logged."""

    path: Path
    service: FakeService
    log_file: Path

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(uds=str(self.path)),
            base_url="http://x/__api__",
            trust_env=False,
        )

    def logged(self) -> str:
        return self.log_file.read_text()


Start = Callable[..., Awaitable[Served]]


@pytest.fixture
def open_directory() -> Generator[Path]:
    """A directory that other users may enter (tmp_path is for us alone)."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def start(open_directory: Path) -> AsyncGenerator[Start]:
    """Start a server with settings of the test's own."""
    with (open_directory / "log").open("wb", 0) as log_file:
        async with trio.open_nursery() as nursery:

            async def begin(
                parent: Parent | None = None,
                configured: Configured | None = None,
                **fields: object,
            ) -> Served:
                listener = socket.socket(socket.AF_UNIX)
                path = open_directory / "core.sock"
                listener.bind(str(path))
                os.chmod(path, 0o666)
                listener.listen()
                known = {"core_uid": os.getuid(), "gateway_uid": 54321, **fields}
                settings = ApiSettings(**known)  # type: ignore[arg-type]
                log = Log("core", fd=log_file.fileno())
                service = FakeService()

                async def serve(task_status: trio.TaskStatus[None]) -> None:
                    await serve_api(
                        listener,
                        service,
                        settings,
                        log=log,
                        parent=parent,
                        configured=configured,
                        task_status=task_status,
                    )

                await nursery.start(serve)
                return Served(path=path, service=service, log_file=open_directory / "log")

            yield begin
            nursery.cancel_scope.cancel()


@pytest.fixture
async def served(start: Start) -> Served:
    """A server that holds the test's own process for its administrator."""
    return await start(max_bundle=1024 * 1024)


@pytest.fixture
def archive() -> bytes:
    """Bytes that the fake core takes for a bundle."""
    return io.BytesIO(os.urandom(100_000)).getvalue()
