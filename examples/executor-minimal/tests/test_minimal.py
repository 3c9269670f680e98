"""The executor `minimal` keeps the promises of every executor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor_minimal import MinimalExecutor

from supervisor import RunId
from supervisor.testing import Alive, ExecutorContract, NewExecutor


class TestMinimalExecutor(ExecutorContract):
    @pytest.fixture
    def new_executor(self, short_path: Path) -> NewExecutor:
        return lambda: MinimalExecutor(str(short_path))

    @pytest.fixture
    def alive(self, short_path: Path) -> Alive:
        async def alive(run: RunId) -> int:
            return sum(f"{short_path}/{run}" in environ for environ in environs())

        return alive


def environs() -> Iterator[str]:
    """The environment of every process that we may look at."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield path.read_text(errors="replace")
        except OSError:
            continue
