"""Place: where a cluster for tests keeps its things, and which processes are its own."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import signal
import ssl
import time
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from tests.support.network import network_of

CHECKOUT = Path(__file__).parents[2]
DIRECTORY = Path(os.environ.get("TEST_KUBE_DIR") or CHECKOUT / ".dev" / "kube")
ARCHIVE = os.environ.get("TEST_KUBE_ARCHIVE", "")

# Neither the API server nor the kubelet takes a loopback address for its own.
ADDRESS = "10.255.0.1"
PODS = "10.244.0.0/24"
SERVICES = "10.96.0.0/24"
API_SERVICE = "10.96.0.1"
PORT = 6443


class Failed(Exception):
    """What a person should read instead of a traceback."""


class Place:
    """One cluster's directory. Clusters of different directories run side by side."""

    def __init__(self, root: Path = DIRECTORY) -> None:
        self.root = root
        self.bin = root / "bin"
        self.pki = root / "pki"
        self.log = root / "log"
        self.images = root / "images"
        self.volumes = root / "volumes"
        self.ready = root / "ready"
        self.pidfile = root / "pid"
        self.kubeconfig = root / "admin.kubeconfig"
        self.limited = root / "limited.kubeconfig"
        self.group = "supervisor-kube-" + hashlib.sha256(str(root).encode()).hexdigest()[:8]

    def holder(self) -> int | None:
        """The process whose end is the end of all others, or None when the cluster is down."""
        with suppress(OSError, ValueError):
            pid, started = map(int, self.pidfile.read_text().split())
            if start_time(pid) == started:
                return pid
        return None

    def init(self) -> int:
        """The host's id of process 1 of the cluster's namespaces; Failed when it is down."""
        if holder := self.holder():
            children = Path(f"/proc/{holder}/task/{holder}/children").read_text().split()
            if children:
                return int(children[0])
        raise Failed("the cluster is not up (./dev kube up)")

    def pid(self, name: str) -> int:
        """The host's id of one of the cluster's programs, "kube-apiserver" or "kubelet"."""
        namespace = os.readlink(f"/proc/{self.init()}/ns/pid")
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (
                    os.path.basename(os.readlink(entry / "exe")) == name
                    and os.readlink(entry / "ns" / "pid") == namespace
                ):
                    return int(entry.name)
        raise Failed(f"{name} does not run; see {self.log}")

    def network(self) -> AbstractContextManager[None]:
        """Be in the cluster's network, with the processes that are started meanwhile."""
        return network_of(self.init())

    def ask(
        self, method: str, path: str, body: object = None, kind: str = "application/json"
    ) -> Any:
        """One request as the administrator, from within the network; Failed if it is refused."""
        tls = ssl.create_default_context(cafile=str(self.pki / "ca.crt"))
        tls.load_cert_chain(self.pki / "admin.crt", self.pki / "admin.key")
        connection = http.client.HTTPSConnection("127.0.0.1", PORT, timeout=10, context=tls)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": kind})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise Failed(f"{method} {path}: {answer.status} {data[:300]!r}")
        return json.loads(data) if data[:1] == b"{" else data.decode()


def new_namespace(place: Place) -> str:
    """Make a namespace and wait until Pods can start in it; gives its name."""
    name = f"test-{secrets.token_hex(4)}"
    place.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(Failed):
            if place.ask("GET", f"/api/v1/namespaces/{name}/serviceaccounts/default").get(
                "secrets"
            ):
                return name
        time.sleep(0.05)
    raise Failed(f"the namespace {name} has no account for Pods after 20 s")


def remove_namespace(place: Place, name: str) -> None:
    """Remove a namespace; what is in it goes soon after."""
    place.ask("DELETE", f"/api/v1/namespaces/{name}")


def start_time(pid: int) -> int | None:
    """When a living process started, which tells it from a later one of its id."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] == "Z" else int(fields[19])
    return None


def end(pid: int, seconds: float = 20.0) -> None:
    """Kill a process and wait until it is gone."""
    started = start_time(pid)
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    deadline = time.monotonic() + seconds
    while started is not None and start_time(pid) == started:
        if time.monotonic() > deadline:
            raise Failed(f"process {pid} does not end")
        time.sleep(0.02)
