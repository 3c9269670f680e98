"""R and Python apps in Pods, through the gateway, beside a content of this machine."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.pods import PodServer, pod_server
from tests.support.shiny_client import Visitor
from tests.system.conftest import EXAMPLES

if TYPE_CHECKING:
    from tests.kube.place import Place

pytestmark = pytest.mark.system

STARTS = 90.0  # seconds


@pytest.fixture
def server(
    kube_cluster: Place, kube_python_image: str, kube_r_image: str, needs: Any
) -> Iterator[PodServer]:
    """A server in the cluster's network; its DataDir is the volume of a claim."""
    needs.root()
    needs.python("shiny")
    with pod_server(kube_cluster, kube_python_image, kube_r_image) as running:
        yield running


async def visit(server: PodServer, path: str, output: str, n: int, value: str) -> None:
    """Open a session as soon as there is one, and see a value."""
    visitor = Visitor(server.url + path)
    end = time.monotonic() + STARTS
    while (await visitor.get()).status != 200:
        assert time.monotonic() < end, server.supervisor("ps", "--json").stdout + server.log()
        await trio.sleep(0.3)
    async with visitor.session([output], {"n": n}) as session:
        assert value in json.dumps(await session.value(output))


async def test_apps_of_both_languages_run_in_pods_and_outlive_the_core(
    server: PodServer,
) -> None:
    r = server.deploy(EXAMPLES / "shiny-r-hello", "in-r")
    python = server.deploy(EXAMPLES / "shiny-python-core", "in-python")
    local = server.deploy(EXAMPLES / "shiny-python-core", "here")
    server.supervisor("set", "here", "executor=unshare")
    server.until(lambda: 2 == len(server.pods()), 30, "its Pod is replaced by a process of here")
    await visit(server, r, "double", 20, "40")
    await visit(server, python, "total", 12, "376")
    await visit(server, local, "total", 12, "376")
    before = server.pods()
    assert 2 == len(before)
    server.kill_core()
    await visit(server, r, "double", 20, "40")
    assert before == server.pods()
