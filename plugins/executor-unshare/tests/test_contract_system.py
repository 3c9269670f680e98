"""The local executor keeps the promises of every executor, with root and without."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import attrs
import pytest
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Job, RunId
from supervisor.testing import Alive, ExecutorContract, NewExecutor, Program

pytestmark = pytest.mark.system

Node = Any


class TestUnshareExecutor(ExecutorContract):
    uid: ClassVar[int]

    @pytest.fixture(autouse=True)
    def content_uid(self, uid_first: int) -> None:
        type(self).uid = uid_first + 1

    @pytest.fixture
    def new_executor(self, node: Node) -> NewExecutor:
        return lambda: UnshareExecutor(run_dir=node.run_dir, forget_after=0.2)

    @pytest.fixture
    def alive(self, node: Node) -> Alive:
        """Count the processes of the node: no test of the contract asks while others run."""

        async def alive(run: RunId) -> int:
            return len(node.processes())

        return alive

    @pytest.fixture
    def data_dir(self, node: Node) -> str:
        return str(node.data_dir)

    def adapt(self, job: Job, program: Program) -> Job:
        return attrs.evolve(job, uid=self.uid, gid=self.uid)


class TestUnshareExecutorWithoutRoot(TestUnshareExecutor):
    @pytest.fixture
    def node(self, new_node: Callable[..., Node], caller: int) -> Node:
        return new_node(caller=caller)

    def adapt(self, job: Job, program: Program) -> Job:
        return job
