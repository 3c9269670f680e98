"""The Kubernetes executor keeps the promises of every executor, on a real cluster."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from supervisor_executor_kubernetes.client import Client
from supervisor_executor_kubernetes.executor import KubernetesExecutor
from supervisor_executor_kubernetes.settings import KubernetesSettings

from supervisor import Job, Ready, RunId
from supervisor.testing.executor import Alive, ExecutorContract, NewExecutor
from supervisor.testing.programs import Program

pytestmark = pytest.mark.system

IMAGE = "localhost/python:1"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client.from_kubeconfig(Path(os.environ["KUBECONFIG"])) as client:
        yield client


@pytest.fixture
async def namespace(client: Client) -> AsyncIterator[str]:
    """Give a namespace of the test's own."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "contract-"}}
    name = (await client.create("/api/v1/namespaces", body))["metadata"]["name"]
    yield name
    await client.delete(f"/api/v1/namespaces/{name}")


class TestKubernetesExecutor(ExecutorContract):
    scale = 5.0
    python = "/usr/bin/python3"
    rule = Ready()

    @pytest.fixture
    def new_executor(self, namespace: str, tmp_path: Path) -> NewExecutor:
        settings = KubernetesSettings(
            kubeconfig=os.environ["KUBECONFIG"],
            namespace=namespace,
            image=(IMAGE,),
            image_pull_policy="Never",
        )
        key = tmp_path / "kubernetes.key"
        return lambda: KubernetesExecutor(settings=settings, key_file=key)

    @pytest.fixture
    def alive(self, client: Client, namespace: str) -> Alive:
        async def alive(run: RunId) -> int:
            path = f"/api/v1/namespaces/{namespace}/pods"
            pods = (await client.list(path, labels=f"supervisor/run={run}")).items
            return sum(not _has_ended(pod) for pod in pods)

        return alive

    def adapt(self, job: Job, program: Program) -> Job:
        return attrs.evolve(job, uid=50001, gid=50001, runtime="python")


def _has_ended(pod: dict[str, Any]) -> bool:
    """Tell whether nothing of a content lives; the entrance ends half a second later."""
    containers = pod["status"].get("containerStatuses", ())
    return any(each["name"] == "content" and "terminated" in each["state"] for each in containers)
