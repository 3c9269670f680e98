"""The Kubernetes executor keeps the promises of every executor, on a real cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from supervisor_executor_kubernetes.executor import KubernetesExecutor
from supervisor_executor_kubernetes.settings import KubernetesSettings

from supervisor import Executor, Job, Ready, RunId
from supervisor.testing import Alive, ExecutorContract, NewExecutor, Program

if TYPE_CHECKING:
    from tests.kube.place import Place

pytestmark = pytest.mark.system


class TestKubernetesExecutor(ExecutorContract):
    scale = 5.0
    rule = Ready()

    @pytest.fixture
    def new_executor(
        self, kube: Place, kube_namespace: str, kube_python_image: str, tmp_path: Path
    ) -> NewExecutor:
        settings = KubernetesSettings(
            kubeconfig=str(kube.kubeconfig),
            namespace=kube_namespace,
            image=(kube_python_image,),
            image_pull_policy="Never",
        )
        key = tmp_path / "kubernetes.key"
        return lambda: KubernetesExecutor(settings=settings, key_file=key)

    @pytest.fixture
    async def executor(self, new_executor: NewExecutor) -> AsyncIterator[Executor]:
        """What it still holds in the end goes with the namespace, beside the next test."""
        async with self.life(new_executor) as executor:
            yield executor

    @pytest.fixture
    def alive(self, kube: Place, kube_namespace: str) -> Alive:
        async def alive(run: RunId) -> int:
            path = f"/api/v1/namespaces/{kube_namespace}/pods"
            pods = kube.ask("GET", f"{path}?labelSelector=supervisor/run={run}")["items"]
            return sum(map(_lives, pods))

        return alive

    def adapt(self, job: Job, program: Program) -> Job:
        return attrs.evolve(job, uid=50001, gid=50001, runtime="python")


def _lives(pod: dict[str, Any]) -> bool:
    """Tell whether a content's process lives; the entrance ends some seconds later.

    A Pod that the Job's controller made in place of a deleted one has no process yet, and goes.
    """
    containers = pod["status"].get("containerStatuses", ())
    return any(each["name"] == "content" and "running" in each["state"] for each in containers)
