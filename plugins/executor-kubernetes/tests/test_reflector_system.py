"""The reflector against a real API server that hangs, dies and forgets."""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from supervisor_executor_kubernetes.client import Client, Listing, Object
from supervisor_executor_kubernetes.errors import Conflict, Forbidden, ServerFailed
from supervisor_executor_kubernetes.reflector import Reflector
from supervisor_executor_kubernetes.transport import TimeLimits

from tests.kube.place import Place

pytestmark = pytest.mark.system

LIMITS = TimeLimits(connect=1, read=2, whole=10)


class Seen:
    """What a reflector told, and waiting for it."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self._more = trio.Event()

    def __call__(self, old: Object | None, new: Object | None) -> None:
        what = "new" if old is None else "gone" if new is None else "changed"
        self.told.append((what, (new or old or {})["metadata"]["name"]))
        self._more.set()

    async def wait(self, what: str, name: str, seconds: float = 10) -> None:
        with trio.fail_after(seconds):
            while (what, name) not in self.told:
                self._more = trio.Event()
                await self._more.wait()


def config_map(name: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "metadata": {"name": name, "labels": {"ours": "yes"}}}


async def test_it_follows_what_happens_with_one_list_and_one_watch(
    kube: Place, kube_namespace: str, nursery: trio.Nursery
) -> None:
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    seen = Seen()
    async with (
        Client.from_kubeconfig(kube.kubeconfig) as client,
        Client.from_kubeconfig(kube.kubeconfig) as other,
    ):
        await other.create(path, config_map("before"))
        reflector = Reflector(client, path, "ours=yes", seen)
        await nursery.start(reflector.run)
        await other.create(path, config_map("after"))
        await seen.wait("new", "after")
        await other.delete(f"{path}/before")
        await seen.wait("gone", "before")
        assert ["after"] == list(reflector.cache)
        assert {"list configmaps": 1, "watch configmaps": 1} == client.requests
        nursery.cancel_scope.cancel()


async def test_a_stopped_server_is_noticed_and_nothing_is_missed_after_it(
    kube: Place, kube_namespace: str, nursery: trio.Nursery
) -> None:
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    server = kube.pid("kube-apiserver")
    seen = Seen()
    async with (
        Client.from_kubeconfig(kube.kubeconfig, limits=LIMITS) as client,
        Client.from_kubeconfig(kube.kubeconfig) as other,
    ):
        reflector = Reflector(client, path, "ours=yes", seen, silence=2)
        await nursery.start(reflector.run)
        await other.create(path, config_map("before"))
        await seen.wait("new", "before")
        os.kill(server, signal.SIGSTOP)
        try:
            with trio.fail_after(10):
                while reflector.trouble is None:  # noqa: ASYNC110 (no event tells of it)
                    await trio.sleep(0.05)
        finally:
            os.kill(server, signal.SIGCONT)
        await other.create(path, config_map("after"))
        await seen.wait("new", "after", seconds=40)
        assert reflector.trouble is None
        assert 1 == client.requests["list configmaps"]
        nursery.cancel_scope.cancel()


async def test_a_server_that_was_killed_is_followed_again_when_it_is_back(
    kube: Place, kube_namespace: str, nursery: trio.Nursery
) -> None:
    path = f"/api/v1/namespaces/{kube_namespace}/configmaps"
    seen = Seen()
    async with (
        Client.from_kubeconfig(kube.kubeconfig, limits=LIMITS) as client,
        Client.from_kubeconfig(kube.kubeconfig, limits=TimeLimits(whole=60)) as other,
    ):
        reflector = Reflector(client, path, "ours=yes", seen)
        await nursery.start(reflector.run)
        os.kill(kube.pid("kube-apiserver"), signal.SIGKILL)
        with trio.fail_after(60):
            await _until_created(other, path, "after")
        await seen.wait("new", "after", seconds=40)
        nursery.cancel_scope.cancel()


class SlowLister(Client):
    """Its first list is so slow that the version is no longer kept when it is there."""

    forget: Callable[[], Awaitable[None]] | None = None

    async def list(self, path: str, *, labels: str = "", fields: str = "") -> Listing:
        listing = await super().list(path, labels=labels, fields=fields)
        if self.forget is not None:
            forget, self.forget = self.forget, None
            await forget()
        return listing


async def test_a_version_that_etcd_has_dropped_is_listed_anew(
    kube: Place, kube_namespace: str, needs: Any, nursery: trio.Nursery
) -> None:
    etcdctl = needs.program("etcdctl")
    path = f"/api/v1/namespaces/{kube_namespace}/events"  # which the server keeps no cache of
    seen = Seen()

    async def forget() -> None:
        await other.create(path, event("missed", kube_namespace))
        made = await other.create(path, event("kept", kube_namespace))
        await trio.run_process(
            [etcdctl, "compact", made["metadata"]["resourceVersion"]],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_stdout=True,
        )

    async with (
        SlowLister.from_kubeconfig(kube.kubeconfig) as client,
        Client.from_kubeconfig(kube.kubeconfig) as other,
    ):
        client.forget = forget
        reflector = Reflector(client, path, "ours=yes", seen)
        await nursery.start(reflector.run)
        await seen.wait("new", "missed")
        await other.create(path, event("after", kube_namespace))
        await seen.wait("new", "after")
        assert {"list events": 2, "watch events": 2} == client.requests
        nursery.cancel_scope.cancel()


def event(name: str, namespace: str) -> dict[str, Any]:
    return {
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace, "labels": {"ours": "yes"}},
        "involvedObject": {"namespace": namespace},
    }


async def _until_created(client: Client, path: str, name: str) -> None:
    while True:
        try:
            await client.create(path, config_map(name))
            return
        except Conflict:
            return
        except (ServerFailed, Forbidden):  # no rights are known in the first moment
            await trio.sleep(0.2)
