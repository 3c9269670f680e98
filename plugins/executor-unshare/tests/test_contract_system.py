"""The local executor keeps the promises of every executor, with root and without."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import attrs
import pytest
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.linux import landlock
from supervisor_unshare.tiers.choice import LEAST_LANDLOCK

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
    def new_executor(self, new_executor: Callable[..., UnshareExecutor]) -> NewExecutor:
        return partial(new_executor, forget_after=0.2)

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


class TestUnshareExecutorWithARangeOfUids(TestUnshareExecutorWithoutRoot):
    @pytest.fixture
    def node(self, new_ranger: Callable[[], Node]) -> Node:
        return new_ranger()


class TestUnshareExecutorWithoutNamespaces(TestUnshareExecutorWithoutRoot):
    @pytest.fixture
    def node(self, new_node: Callable[..., Node], caller: int) -> Node:
        if landlock.version() < LEAST_LANDLOCK:
            pytest.skip("not on this kernel: Landlock")
        return new_node(caller=caller, settings={"tier": "landlock"})
