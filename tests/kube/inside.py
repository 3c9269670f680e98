"""Process 1 of the cluster: private mounts, network and control groups, then the programs.

Run by `up` in namespaces of its own: python -m tests.kube.inside DIRECTORY [--api-only].
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.kube import programs
from tests.kube.images import import_image
from tests.kube.place import ADDRESS, API_SERVICE, PODS, SERVICES, Failed, Place

PAUSE = 1.0  # seconds before a program that ended is started again
STEP = 0.05

# The kubelet sets these for the whole machine. It finds its values in files that are mounted
# over them here, and the machine keeps its own.
SYSCTLS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}

Step = Callable[[], bool]  # true when done; asked again until then


class Programs:
    """Programs that are started again when they end."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._commands: dict[str, list[str]] = {}
        self._running: dict[int, str] = {}
        self._due: dict[str, float] = {}

    def start(self, name: str, command: list[str]) -> None:
        """Start a program, and again whenever it has ended; its output goes to its log."""
        self._commands[name] = command
        with (self._place.log / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        self._running[process.pid] = name

    def reap(self) -> None:
        """Collect what has ended, orphans of the containers too, and start what is due."""
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                if name := self._running.pop(pid, None):
                    print(f"{name} ended: {os.waitstatus_to_exitcode(status)}", flush=True)
                    self._due[name] = time.monotonic() + PAUSE
        for name, due in list(self._due.items()):
            if time.monotonic() >= due:
                del self._due[name]
                self.start(name, self._commands[name])


def main(root: Path, api_only: bool) -> None:
    """Bring everything up in order, then keep it up until killed."""
    place = Place(root)
    isolate(place)
    running = Programs(place)
    running.start("etcd", programs.etcd(place))
    running.start("kube-apiserver", programs.apiserver(place))
    steps: list[Step] = [
        lambda: answers(place, "/readyz"),
        lambda: start(running, "kube-controller-manager", programs.controllers(place)),
        lambda: start(running, "kube-scheduler", programs.scheduler(place)),
        lambda: has_account(place),
    ]
    if not api_only:
        running.start("containerd", programs.containerd(place))
        running.start("kubelet", programs.kubelet(place))
        steps += [
            lambda: imports_images(place),
            lambda: has_network(place),
            lambda: start(running, "kube-proxy", programs.proxy(place)),
            lambda: node_is_ready(place),
            reaches_services,
        ]
    while True:
        running.reap()
        while steps and steps[0]():
            steps.pop(0)
            if not steps:
                place.ready.touch()
        time.sleep(STEP)


def start(running: Programs, name: str, command: list[str]) -> bool:
    """Start a program as a step."""
    running.start(name, command)
    return True


def answers(place: Place, path: str) -> bool:
    """Whether the API server answers well."""
    try:
        place.ask("GET", path)
    except (Failed, OSError):
        return False
    return True


def has_account(place: Place) -> bool:
    """Whether Pods of the default namespace can start: their account has its token."""
    try:
        account = place.ask("GET", "/api/v1/namespaces/default/serviceaccounts/default")
    except (Failed, OSError):
        return False
    return bool(account.get("secrets"))


def imports_images(place: Place) -> bool:
    """Import what Pods may use, once containerd answers."""
    if subprocess.run(["ctr", "version"], capture_output=True).returncode:
        return False
    for tar in sorted(place.images.glob("*.tar")):
        import_image(tar)
    return True


def has_network(place: Place) -> bool:
    """Give the node its network for Pods, once it has registered."""
    spec = {"spec": {"podCIDR": PODS, "podCIDRs": [PODS]}}
    path = f"/api/v1/nodes/{programs.NODE}"
    try:
        place.ask("PATCH", path, spec, "application/merge-patch+json")
    except (Failed, OSError):
        return False
    return True


def node_is_ready(place: Place) -> bool:
    """Whether the node takes Pods."""
    try:
        node = place.ask("GET", f"/api/v1/nodes/{programs.NODE}")
    except (Failed, OSError):
        return False
    conditions = node.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def reaches_services() -> bool:
    """Whether addresses of Services lead somewhere."""
    try:
        socket.create_connection((API_SERVICE, 443), timeout=0.5).close()
    except OSError:
        return False
    return True


def isolate(place: Place) -> None:
    """Make this namespace's own mounts, network and view of the control groups."""
    run("hostname", programs.NODE)
    # the node mounts volumes for its containers to see
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    Path("/run/containerd").mkdir()
    for name in ("lib", "log"):
        private = place.root / "var" / name
        private.mkdir(parents=True, exist_ok=True)
        run("mount", "--bind", private, f"/var/{name}")
    for name in ("etcd", "containerd"):  # no writing through, and no removing file by file
        state = place.root / name
        state.mkdir(mode=0o700)
        run("mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", state)
    mount_groups()
    mask_sysctls(place)
    run("ip", "link", "set", "lo", "up")
    run("ip", "address", "add", f"{ADDRESS}/32", "dev", "lo")
    # there is no default route: without one, a Service is unreachable before it is rewritten
    run("ip", "route", "add", SERVICES, "dev", "lo", "src", ADDRESS)
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")  # of this network namespace


def mount_groups() -> None:
    """Mount the hierarchies anew: our own group is their root now."""
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    hierarchies = [line.split(":")[1] for line in lines]
    run("mount", "-t", "tmpfs", "tmpfs", "/sys/fs/cgroup")
    for controllers in filter(None, hierarchies):
        name = controllers.removeprefix("name=")
        place = Path("/sys/fs/cgroup") / name
        place.mkdir()
        options = controllers if controllers == name else f"none,{controllers}"
        run("mount", "-t", "cgroup", "-o", options, "cgroup", place)


def mask_sysctls(place: Place) -> None:
    """Mount files over the settings that concern the whole machine."""
    (place.root / "sysctl").mkdir(exist_ok=True)
    for name, value in SYSCTLS.items():
        real = Path("/proc/sys") / name
        if real.exists():
            masked = place.root / "sysctl" / name.replace("/", ".")
            masked.write_text(f"{value}\n")
            run("mount", "--bind", masked, real)


def run(*command: str | Path) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, timeout=60)


if __name__ == "__main__":
    try:
        main(Path(sys.argv[1]), "--api-only" in sys.argv)
    except BaseException:
        traceback.print_exc()
        raise SystemExit(1) from None
