"""A real server in the network of the Kubernetes for tests; its content runs in Pods.

It is set up as docs/howto/kubernetes.md says: by its Role and no other right, claim and settings.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from tests.kube.place import Place, new_namespace, remove_namespace
from tests.support.server import CORE, LiveServer, kill, server_directory

RUN = "supervisor/run"  # the label of Pods
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "kubernetes.md"


class PodServer(LiveServer):
    """A server with a namespace of its own; its DataDir is the volume of the page's claim.

    Whoever uses it is in the cluster's network.
    """

    def __init__(self, base: Path, place: Place, python: str, r: str) -> None:
        self.place = place
        self.namespace = new_namespace(place)
        kubeconfig = base / "kubeconfig"
        shutil.copy(place.limited, kubeconfig)
        shutil.chown(kubeconfig, CORE)
        kubeconfig.chmod(0o400)
        ours = {
            "Kubeconfig = /etc/content-supervisor/kubeconfig": f"Kubeconfig = {kubeconfig}",
            "Namespace = content": f"Namespace = {self.namespace}",
            "Image = python=registry.example.org/python:3.11": f"Image = python={python}",
            "Image = r=registry.example.org/r:4.4": f"Image = r={r}\nImagePullPolicy = Never",
        }
        super().__init__(base, extra=_replaced(_sample("ini", "[Kubernetes]"), ours))
        self._give_rights()
        self._claim()

    # -- what is in its namespace -------------------------------------------------------------

    def ask(self, method: str, path: str, body: object = None, *, group: str = "/api/v1") -> Any:
        """One request about its namespace, as the administrator."""
        return self.place.ask(method, f"{group}/namespaces/{self.namespace}/{path}", body)

    def jobs(self) -> dict[str, Any]:
        """Every Job by its name."""
        found = self.ask("GET", "jobs", group="/apis/batch/v1")["items"]
        return {job["metadata"]["name"]: job for job in found}

    def all_pods(self) -> dict[str, Any]:
        """Every Pod of content that is to stay, by its run."""
        return {
            pod["metadata"]["labels"][RUN]: pod
            for pod in self.ask("GET", "pods")["items"]
            if RUN in pod["metadata"]["labels"] and "deletionTimestamp" not in pod["metadata"]
        }

    def pods(self) -> dict[str, tuple[str, str]]:
        """Name and uid of every Pod of content that runs and is to stay, by its run."""
        return {
            run: (pod["metadata"]["name"], pod["metadata"]["uid"])
            for run, pod in self.all_pods().items()
            if pod["status"]["phase"] == "Running"
        }

    def _give_rights(self) -> None:
        """Let its account do what the page says, and nothing else."""
        role = yaml.safe_load(_sample("yaml", "kind: Role"))
        rights = "/apis/rbac.authorization.k8s.io/v1"
        self.ask("POST", "roles", role, group=rights)
        binding = {
            "metadata": {"name": "limited"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": role["metadata"]["name"],
            },
            "subjects": [{"kind": "User", "name": "limited"}],
        }
        self.ask("POST", "rolebindings", binding, group=rights)

    def _claim(self) -> None:
        """Make the claim of the page, and a volume for it, as an administrator's storage would."""
        claim = yaml.safe_load(_sample("yaml", "kind: PersistentVolumeClaim"))
        volume = {
            "metadata": {"name": self.namespace},
            "spec": {
                "capacity": claim["spec"]["resources"]["requests"],
                "accessModes": claim["spec"]["accessModes"],
                "storageClassName": claim["spec"]["storageClassName"],
                "claimRef": {"namespace": self.namespace, "name": claim["metadata"]["name"]},
                "hostPath": {"path": str(self.data_dir), "type": "DirectoryOrCreate"},
            },
        }
        self.place.ask("POST", "/api/v1/persistentvolumes", volume)
        self.ask("POST", "persistentvolumeclaims", claim)

    # -- what is done to it -------------------------------------------------------------------

    def kill_core(self) -> None:
        """kill -9 the core, and return when the next one answers."""
        old = self.core
        kill(old)
        self.until(lambda: self.core not in (None, old), 20, "a new core")
        self.until(lambda: self.supervisor("ps", check=False).returncode == 0, 20, "it answers")

    def empty(self) -> None:
        """Remove every content, and return when no Pod is left."""
        for row in self.json("list"):
            self.supervisor("remove", row["name"], "--yes")
        self.until(lambda: not self.all_pods(), 30, "no Pod is left")

    @contextmanager
    def silent_api(self) -> Iterator[None]:
        """Stop the API server: what is sent to it gets no answer until the end of the block."""
        pid = self.place.pid("kube-apiserver")
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)


@contextmanager
def pod_server(place: Place, python: str, r: str) -> Iterator[PodServer]:
    """Be in the cluster's network, with a server for a test or a module."""
    with place.network(), server_directory() as base:
        server = PodServer(base, place, python, r)
        try:
            server.start()
            yield server
        finally:
            server.end()
            remove_namespace(place, server.namespace)


def _sample(language: str, word: str) -> str:
    """Give the one sample of the page in a language that has a word."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (found,) = (block for block in blocks if word in block)
    return str(found)


def _replaced(text: str, lines: Mapping[str, str]) -> str:
    """Replace whole lines, each of which is there."""
    assert lines.keys() <= set(text.splitlines()), "the page has other settings by now"
    return "\n".join(lines.get(line, line) for line in text.splitlines()) + "\n"
