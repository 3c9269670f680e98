"""`supervisor` as people run it: a process of its own, against the server of a test."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import attrs
import trio

from supervisor.testing.fakes_service import FakeService

SUPERVISOR = [sys.executable, "-m", "supervisor"]
TIMEOUT = 60


@attrs.frozen
class Cli:
    """Run `supervisor` against the server of the test."""

    socket: Path
    service: FakeService

    async def __call__(
        self, *arguments: str, status: int = 0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        with trio.fail_after(TIMEOUT):
            done = await trio.run_process(
                [*SUPERVISOR, *arguments],
                env={**os.environ, "SUPERVISOR_SOCKET": str(self.socket)},
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                **options,
            )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert "Traceback" not in err, err
        assert status == done.returncode, (out, err)
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    async def json(self, *arguments: str) -> Any:
        return json.loads((await self(*arguments, "--json")).stdout)

    async def open(self, *arguments: str, **options: Any) -> trio.Process:
        environment = {**os.environ, "SUPERVISOR_SOCKET": str(self.socket)}
        return await trio.lowlevel.open_process(
            [*SUPERVISOR, *arguments], env=environment, stdout=subprocess.PIPE, **options
        )
