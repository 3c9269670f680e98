"""R and Python apps in Pods, through the gateway, beside a content of this machine."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.server import CORE, LiveServer, kill, server_directory
from tests.support.shiny_client import Visitor
from tests.system.conftest import EXAMPLES

if TYPE_CHECKING:
    from tests.kube.place import Place

pytestmark = pytest.mark.system

STARTS = 90.0  # seconds


@pytest.fixture
def server(
    kube: Place, kube_namespace: str, kube_python_image: str, kube_r_image: str, needs: Any
) -> Iterator[LiveServer]:
    """A server in the cluster's network; its DataDir is the volume of a claim."""
    needs.root()
    needs.python("shiny")
    with server_directory() as base:
        claim(kube, kube_namespace, str(base / "data"))
        kubeconfig = base / "kubeconfig"
        shutil.copy(kube.kubeconfig, kubeconfig)
        shutil.chown(kubeconfig, CORE)
        kubeconfig.chmod(0o400)
        extra = f"""
[Applications]
Executor = kubernetes
[Kubernetes]
Kubeconfig = {kubeconfig}
Namespace = {kube_namespace}
Claim = data
Image = python={kube_python_image}
Image = r={kube_r_image}
ImagePullPolicy = Never
"""
        server = LiveServer(base, extra=extra)
        try:
            yield server.start()
        finally:
            server.end()


def claim(kube: Place, namespace: str, path: str) -> None:
    """Make the claim `data` for a directory of the node."""
    size = {"storage": "1Gi"}
    volume = {
        "metadata": {"name": namespace},
        "spec": {
            "capacity": size,
            "accessModes": ["ReadWriteMany"],
            "storageClassName": namespace,
            "hostPath": {"path": path, "type": "DirectoryOrCreate"},
        },
    }
    kube.ask("POST", "/api/v1/persistentvolumes", volume)
    spec = {
        "accessModes": ["ReadWriteMany"],
        "storageClassName": namespace,
        "resources": {"requests": size},
    }
    body = {"metadata": {"name": "data"}, "spec": spec}
    kube.ask("POST", f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", body)


def running(kube: Place, namespace: str) -> set[str]:
    """The names of the Pods that run and are to stay."""
    pods = kube.ask("GET", f"/api/v1/namespaces/{namespace}/pods")["items"]
    return {
        pod["metadata"]["name"]
        for pod in pods
        if pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
    }


async def visit(server: LiveServer, path: str, output: str, n: int, value: str) -> None:
    """Open a session as soon as there is one, and see a value."""
    visitor = Visitor(server.url + path)
    end = time.monotonic() + STARTS
    while (await visitor.get()).status != 200:
        assert time.monotonic() < end, server.supervisor("ps", "--json").stdout + server.log()
        await trio.sleep(0.3)
    async with visitor.session([output], {"n": n}) as session:
        assert value in json.dumps(await session.value(output))


async def test_apps_of_both_languages_run_in_pods_and_outlive_the_core(
    server: LiveServer, kube: Place, kube_namespace: str
) -> None:
    r = server.deploy(EXAMPLES / "shiny-r-hello", "in-r")
    python = server.deploy(EXAMPLES / "shiny-python-core", "in-python")
    local = server.deploy(EXAMPLES / "shiny-python-core", "here")
    server.supervisor("set", "here", "executor=unshare")
    server.supervisor("restart", "here")
    await visit(server, r, "double", 20, "40")
    await visit(server, python, "total", 12, "376")
    await visit(server, local, "total", 12, "376")
    before = running(kube, kube_namespace)
    assert 2 == len(before)
    core = server.core
    kill(core)
    server.until(lambda: server.core not in (None, core), 20, "a new core")
    server.until(lambda: server.supervisor("ps", check=False).returncode == 0, 20)
    await visit(server, r, "double", 20, "40")
    assert before == running(kube, kube_namespace)


async def test_why_no_pod_comes_stands_in_ps_and_on_the_page(server: LiveServer) -> None:
    path = server.deploy(EXAMPLES / "shiny-python-core", "app")
    server.stop()
    config = server.config.read_text().replace("Claim = data", "Claim = nowhere")
    server.config.write_text(config)
    server.start()
    visitor = Visitor(server.url + path)
    with trio.fail_after(30):
        while b"nowhere" not in (answer := await visitor.get()).body:  # noqa: ASYNC110
            await trio.sleep(0.3)
    assert b"not found" in answer.body
