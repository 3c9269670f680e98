"""The client against a real API server."""

from __future__ import annotations

import base64
import os
import re
import signal
from typing import Any

import pytest
import trio
from supervisor_executor_kubernetes.client import Client
from supervisor_executor_kubernetes.errors import (
    BadRequest,
    Conflict,
    Forbidden,
    Gone,
    NotFound,
    ServerFailed,
    Unauthorised,
    Untrusted,
)
from supervisor_executor_kubernetes.transport import TimeLimits

from tests.kube.place import Place

pytestmark = pytest.mark.system


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": labels},
        "data": {"key": "value"},
    }


def pod(name: str, image: str, *command: str) -> dict[str, Any]:
    container = {
        "name": "content",
        "image": image,
        "imagePullPolicy": "Never",
        "command": list(command),
    }
    return {
        "metadata": {"name": name},
        "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "containers": [container],
        },
    }


async def test_objects_are_made_found_listed_and_removed(kube: Place, kube_namespace: str) -> None:
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    async with Client.from_kubeconfig(kube.kubeconfig) as client:
        made = await client.create(path, config_map("one", mine="yes"))
        await client.create(path, config_map("two", mine="no"))
        assert made["metadata"]["uid"] == (await client.get(f"{path}/one"))["metadata"]["uid"]
        found = await client.list(path, labels="mine=yes")
        assert ["one"] == [each["metadata"]["name"] for each in found.items]
        assert int(found.version) > 0
        with pytest.raises(Conflict, match="already exists") as caught:
            await client.create(path, config_map("one"))
        assert "AlreadyExists" == caught.value.reason
        await client.delete(f"{path}/one")
        await client.delete(f"{path}/one")
        with pytest.raises(NotFound):
            await client.get(f"{path}/one")


async def test_long_lists_come_whole(
    kube: Place, kube_namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("supervisor_executor_kubernetes.client.PAGE", 3)
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    async with Client.from_kubeconfig(kube.kubeconfig) as client:
        names = {f"map-{number}" for number in range(10)}
        for name in names:
            await client.create(path, config_map(name, ours="yes"))
        found = await client.list(path, labels="ours=yes")
        assert names == {each["metadata"]["name"] for each in found.items}
        assert 4 == client.requests["list configmaps"]


async def test_the_server_says_what_is_wrong_with_an_object(
    kube: Place, kube_namespace: str
) -> None:
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    async with Client.from_kubeconfig(kube.kubeconfig) as client:
        with pytest.raises(BadRequest, match="lowercase"):
            await client.create(path, config_map("No Name"))


async def test_a_missing_right_is_named(kube: Place, kube_namespace: str) -> None:
    async with Client.from_kubeconfig(kube.limited) as client:
        with pytest.raises(Forbidden, match='cannot list resource "pods"') as caught:
            await client.list(f"/api/v1/namespaces/{kube_namespace}/pods")
    assert "list pods" == caught.value.call


async def test_a_wrong_token_and_a_wrong_authority_are_told_apart(
    kube: Place, tmp_path: Any
) -> None:
    config = kube.limited.read_text()
    wrong_token = tmp_path / "token"
    wrong_token.write_text(re.sub(r'"token": "\w+"', '"token": "wrong"', config))
    async with Client.from_kubeconfig(wrong_token) as client:
        with pytest.raises(Unauthorised):
            await client.list("/api/v1/namespaces")
    # the system's authorities have not signed this server's certificate
    wrong_authority = tmp_path / "authority"
    wrong_authority.write_text(re.sub(r'"certificate-authority-data"', '"extensions"', config))
    async with Client.from_kubeconfig(wrong_authority) as client:
        with trio.fail_after(5), pytest.raises(Untrusted, match="certificate"):
            await client.list("/api/v1/namespaces")


async def test_a_service_account_is_known_to_the_server(
    kube: Place, kube_namespace: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = f"/api/v1/namespaces/{kube_namespace}/serviceaccounts/default"
    [secret] = kube.ask("GET", account)["secrets"]
    found = kube.ask("GET", f"/api/v1/namespaces/{kube_namespace}/secrets/{secret['name']}")
    for name, value in found["data"].items():
        (tmp_path / name).write_bytes(base64.b64decode(value))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    async with Client.in_cluster(tmp_path) as client:
        assert kube_namespace == client.namespace
        with pytest.raises(Forbidden, match=f"system:serviceaccount:{kube_namespace}:default"):
            await client.list(f"/api/v1/namespaces/{kube_namespace}/pods")


async def test_a_version_that_was_compacted_away_is_gone(
    kube: Place, kube_namespace: str, needs: Any
) -> None:
    etcdctl = needs.program("etcdctl")
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    async with Client.from_kubeconfig(kube.kubeconfig) as client:
        old = (await client.create(path, config_map("one")))["metadata"]["resourceVersion"]
        newest = (await client.create(path, config_map("two")))["metadata"]["resourceVersion"]
        await trio.run_process(
            [etcdctl, "--endpoints=http://127.0.0.1:2379", "compact", newest],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_stdout=True,
        )
        # the watch cache would still know; an exact list asks etcd
        with pytest.raises(Gone):
            await client.get(f"{path}?resourceVersion={old}&resourceVersionMatch=Exact&limit=1")


async def test_a_log_is_followed_to_its_end_and_resumed(
    kube: Place, kube_namespace: str, kube_python_image: str
) -> None:
    pods = f"/api/v1/namespaces/{kube_namespace}/pods"
    script = "import time\nfor n in range(3): print('line', n, flush=True); time.sleep(1.1)"
    async with Client.from_kubeconfig(kube.kubeconfig) as client:
        await client.create(pods, pod("talker", kube_python_image, "python3", "-c", script))
        with trio.fail_after(60):
            await running(client, f"{pods}/talker")
            async with client.log(kube_namespace, "talker", "content", follow=True) as lines:
                whole = [line async for line in lines]
        assert [b"line 0\n", b"line 1\n", b"line 2\n"] == [line.split(b" ", 1)[1] for line in whole]
        since = whole[2].split(b" ")[0].decode()
        async with client.log(kube_namespace, "talker", "content", since=since) as lines:
            assert whole[2] == [line async for line in lines][-1]


async def running(client: Client, path: str) -> None:
    """Wait until the container of a Pod runs or has run."""
    collection, _, name = path.rpartition("/")
    async with client.watch(collection) as events:
        async for event in events:
            metadata, status = event.object["metadata"], event.object.get("status", {})
            if metadata.get("name") == name and status.get("phase") not in (None, "Pending"):
                return


async def test_a_half_open_server_costs_the_time_limits_and_no_more(
    kube: Place, kube_namespace: str
) -> None:
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    limits = TimeLimits(connect=0.5, read=0.5, whole=2)
    server = kube.pid("kube-apiserver")
    async with Client.from_kubeconfig(kube.kubeconfig, limits=limits) as client:
        version = (await client.list(path)).version
        async with client.watch(path, version=version, silence=1) as events:
            os.kill(server, signal.SIGSTOP)
            try:
                with trio.fail_after(3), pytest.raises(ServerFailed, match="silent"):
                    await anext(events)
                with trio.fail_after(3), pytest.raises(ServerFailed):
                    await client.list(path)
                with trio.move_on_after(0.1):  # cancelled in the midst of a connection
                    await client.list(path)
            finally:
                os.kill(server, signal.SIGCONT)
        with trio.fail_after(10):
            assert version <= (await client.list(path)).version
