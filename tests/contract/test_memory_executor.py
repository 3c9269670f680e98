"""What broken executors are made from keeps every promise, also as a plugin author tests it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from supervisor.testing import Alive, NewExecutor
from tests.support.machine import Machine
from tests.support.memory_executor import Backend, MemoryExecutor
from tests.support.suite import MemoryContract


class TestMemoryExecutor(MemoryContract):
    @pytest.fixture(autouse=True)
    async def machine_on(self, short_path: Path) -> AsyncIterator[None]:
        async with Machine(short_path).powered() as machine:
            type(self).machine = machine
            yield

    @pytest.fixture
    def new_executor(self, machine_on: None) -> NewExecutor:
        backend = Backend(self.machine)
        return lambda: MemoryExecutor(backend)

    @pytest.fixture
    def alive(self, machine_on: None) -> Alive:
        return self.machine.alive

    @pytest.fixture
    def data_dir(self, machine_on: None) -> str:
        return str(self.machine.data_dir)
