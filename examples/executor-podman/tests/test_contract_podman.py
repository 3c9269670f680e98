"""The podman executor keeps the promises of every executor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from supervisor_podman.executor import PodmanExecutor

from supervisor import Job, RunId
from supervisor.testing import Alive, ExecutorContract, NewExecutor, Program


class TestPodmanExecutor(ExecutorContract):
    scale = 3.0

    @pytest.fixture
    def data_dir(self, short_path: Path) -> str:
        return str(short_path / "data")

    @pytest.fixture
    def new_executor(self, storage: Any, data_dir: str, short_path: Path) -> NewExecutor:
        return lambda: PodmanExecutor(
            settings=storage.settings,
            data_dir=data_dir,
            directory=f"{short_path}/runs",
            forget_after=0.2,
        )

    @pytest.fixture
    def alive(self) -> Alive:
        async def alive(run: RunId) -> int:
            return sum(f"OF_RUN={run}" in environ for environ in environs())

        return alive

    def adapt(self, job: Job, program: Program) -> Job:
        env = {**job.plan.env, "OF_RUN": job.run}
        return attrs.evolve(job, plan=attrs.evolve(job.plan, env=env))


def environs() -> Iterator[str]:
    """The environment of every process that we may look at."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield path.read_text(errors="replace")
        except OSError:
            continue
