"""A fake core behind a real socket, and the command line to ask it with."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import AsyncGenerator, Generator
from functools import partial
from pathlib import Path

import pytest
import trio

from supervisor.api.access import ApiSettings
from supervisor.api.server import serve_api
from supervisor.log import Log
from supervisor.testing.fakes_service import FakeService
from tests.support.cli import Cli


@pytest.fixture
def directory() -> Generator[Path]:
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def cli(directory: Path) -> AsyncGenerator[Cli]:
    service = FakeService()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(directory / "core.sock"))
    listener.listen()
    settings = ApiSettings(core_uid=os.getuid(), gateway_uid=54321, max_bundle=2_000_000)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_api, listener, service, settings, log=Log("core")))
        yield Cli(directory / "core.sock", service)
        nursery.cancel_scope.cancel()


@pytest.fixture
def folder(directory: Path) -> Path:
    folder = directory / "hello"
    folder.mkdir()
    (folder / "app.py").write_text("print('hello')\n")
    return folder
