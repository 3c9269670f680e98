"""What goes wrong with Pods is said in `ps`, in the log and on the page; nothing is left over."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.support.pods import PodServer, pod_server
from tests.support.server import kill
from tests.system.conftest import EXAMPLES

if TYPE_CHECKING:
    from tests.kube.place import Place

pytestmark = pytest.mark.system

SOON = 20.0  # seconds within which a person is to know why nothing comes
TAKES_MEMORY = """
import shiny

taken = bytearray(1024**3)
taken[::4096] = b"x" * len(taken[::4096])
app = shiny.App(shiny.ui.page_fluid("enough"), None)
"""
# Connects to an address, asks for a page and to end, and prints all that it gets.
ASKS = """
import socket, sys
for port, asked in (8939, b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"), (8940, b"0\\n"):
    for word in ("", "supervisor " + "0" * 64 + "\\n"):
        with socket.create_connection((sys.argv[1], port), 20) as sock:
            sock.sendall(word.encode() + asked)
            try:
                print("connected", sock.recv(1000))
            except ConnectionResetError:
                print("connected", b"")
"""


@pytest.fixture(scope="module")
def running(
    everything: None, kube_cluster: Place, kube_python_image: str, kube_r_image: str
) -> Iterator[PodServer]:
    """One server for these tests."""
    with pod_server(kube_cluster, kube_python_image, kube_r_image) as server:
        server.deploy(EXAMPLES / "shiny-python-core", "app")
        sleep(server)
        yield server


@pytest.fixture
def server(running: PodServer) -> Iterator[PodServer]:
    """The server, with its settings as they were and no Pod once the test is over."""
    settings = running.config.read_text()
    yield running
    if running.config.read_text() != settings:
        with_settings(running, lambda now: settings)
    sleep(running)


def sleep(server: PodServer) -> None:
    """Stop every content, and wait until its Pods are gone."""
    for row in server.json("list"):
        server.supervisor("stop", row["name"])
    server.until(lambda: not server.all_pods() and not server.json("ps"), 30, "no Pod")


def with_settings(server: PodServer, change: Callable[[str], str]) -> None:
    """Start the server anew with other settings."""
    server.stop()
    server.config.write_text(change(server.config.read_text()))
    server.start()


def page(server: PodServer, name: str = "app") -> str:
    """What a visitor's browser gets."""
    url = server.url + server.path(name)
    return httpx2.get(url, headers={"Accept": "text/html"}, timeout=30).text


def told(server: PodServer, *words: str, name: str = "app") -> dict[str, Any]:
    """Start it; the page, `ps --all` and the log must say these words soon. Give the run."""
    server.supervisor("restart", name)
    begun = time.monotonic()

    def says_so(text: str) -> bool:
        return all(word in text for word in words)

    server.until(lambda: says_so(page(server, name)), SOON, f"the page says {words}")
    waited = time.monotonic() - begun
    rows = [row for row in server.json("ps", "--all") if says_so(row["reason"])]
    assert rows, server.supervisor("ps", "--all").stdout
    log = server.supervisor("logs", rows[0]["id"]).stdout
    assert says_so(log), log
    print(f"after {waited:.1f} s: {rows[0]['reason']}")
    return dict(rows[0])


def ready(server: PodServer) -> str:
    """Wait until the app is there; give its run."""
    server.until(lambda: "ready" in {row["state"] for row in server.json("ps")}, 60, "it is ready")
    # a second attempt by itself, which a restart ended, may still be leaving
    (row,) = (row for row in server.json("ps") if row["state"] != "stopping")
    return str(row["id"])


def started(server: PodServer) -> str:
    """Start the app; give its run."""
    server.supervisor("restart", "app")
    return ready(server)


def test_an_app_that_takes_more_memory_than_its_limit_is_said_to(server: PodServer) -> None:
    folder = server.base / "takes-memory"
    folder.mkdir()
    (folder / "app.py").write_text(TAKES_MEMORY)
    server.deploy(folder, "greedy")  # it has no limit yet
    sleep(server)
    server.supervisor("set", "greedy", "memory_limit=300MiB")
    row = told(server, "more memory than its limit", name="greedy")
    assert "memory" == row["exit"]["cause"]
    server.supervisor("remove", "greedy", "--yes")


def test_an_image_that_is_not_there(server: PodServer) -> None:
    with_settings(
        server,
        lambda now: "\n".join(
            "Image = python=localhost/none:1" if line.startswith("Image = python=") else line
            for line in now.splitlines()
        ),
    )
    told(server, "ErrImageNeverPull", "localhost/none:1")


def test_a_claim_that_is_not_there(server: PodServer) -> None:
    with_settings(server, lambda now: now.replace("Claim = content-supervisor", "Claim = nowhere"))
    told(server, "nowhere", "not found")


def test_a_quota_that_is_used_up(server: PodServer) -> None:
    quota = {"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}}
    server.ask("POST", "resourcequotas", quota)
    try:
        server.until(  # it holds from when the cluster has counted, not from when it is made
            lambda: "hard" in server.ask("GET", "resourcequotas/small").get("status", {}), 20
        )
        told(server, "exceeded quota: small")
    finally:
        server.ask("DELETE", "resourcequotas/small")
    started(server)


def test_another_pod_without_the_secret_gets_nothing(
    server: PodServer, kube_python_image: str
) -> None:
    run = started(server)
    address = server.all_pods()[run]["status"]["podIP"]
    container = {
        "name": "asks",
        "image": kube_python_image,
        "imagePullPolicy": "Never",
        "command": ["python3", "-c", ASKS, address],
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    body = {"metadata": {"name": "stranger", "labels": {"app": "stranger"}}, "spec": spec}
    server.ask("POST", "pods", body)
    try:
        ends = ("Succeeded", "Failed")
        server.until(
            lambda: server.ask("GET", "pods/stranger")["status"]["phase"] in ends, 40, "it ended"
        )
        assert "connected b''\n" * 4 == server.ask("GET", "pods/stranger/log")
    finally:
        server.ask("DELETE", "pods/stranger")
    assert "Fibonacci" in page(server)  # the gateway knows the secret


def test_a_pod_without_a_record_is_removed_by_the_next_core(server: PodServer) -> None:
    run = started(server)
    (name, job) = next((n, job) for n, job in server.jobs().items() if n.endswith(run))
    stray = "0" * len(run)
    copy = json.loads(json.dumps(job).replace(run, stray))
    copy["metadata"] = {key: copy["metadata"][key] for key in ("name", "labels")}
    del copy["status"], copy["spec"]["selector"]
    for made in ("controller-uid", "job-name"):
        copy["metadata"]["labels"].pop(made, None)
        copy["spec"]["template"]["metadata"]["labels"].pop(made, None)
    server.ask("POST", "jobs", copy, group="/apis/batch/v1")
    server.until(lambda: stray in server.pods(), 30, "the stray runs")
    begun = time.monotonic()
    server.kill_core()
    server.until(lambda: stray not in server.all_pods(), 30, "the stray is removed")
    print(f"removed after {time.monotonic() - begun:.1f} s")
    server.until(lambda: {name} == set(server.jobs()), 20, "its Job too")
    assert {run} == set(server.pods()) == {row["id"] for row in server.json("ps")}


def test_a_record_without_a_pod_is_lost_and_the_next_visit_starts_another(
    server: PodServer,
) -> None:
    run = started(server)
    core = server.core
    assert core is not None
    kill(core, signal.SIGSTOP)  # it sees nothing of what follows
    pod, _ = server.pods()[run]
    for where in [
        f"/apis/batch/v1/namespaces/{server.namespace}/jobs/{name}" for name in server.jobs()
    ]:
        server.place.ask("DELETE", f"{where}?propagationPolicy=Orphan")
    server.ask("DELETE", f"pods/{pod}?gracePeriodSeconds=0")
    server.until(lambda: pod not in names(server), 10, "no Pod")
    if server.core == core:
        kill(core)
    server.until(lambda: server.core not in (None, core), 30, "a new core")
    server.until(lambda: server.supervisor("ps", check=False).returncode == 0, 20, "it answers")

    def row() -> dict[str, Any]:
        (found,) = (row for row in server.json("ps", "--all") if row["id"] == run)
        return dict(found)

    server.until(lambda: row()["state"] == "lost", 20, "it is lost")
    print(row()["reason"])
    assert "Starting" in page(server)
    assert run != ready(server)
    assert 1 == len(server.jobs())


def names(server: PodServer) -> set[str]:
    """Every Pod there is."""
    return {pod["metadata"]["name"] for pod in server.ask("GET", "pods")["items"]}
