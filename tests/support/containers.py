"""The image of examples/docker, and containers of it, by a podman of the tests' own. Needs root.

No registry is asked: the image's base is the Debian that debootstrap made for tests/support/nspawn,
imported under the name that the Dockerfile wants.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.support.network import network_of
from tests.support.nspawn import debian

ROOT = Path(__file__).parents[2]
IMAGE = "content-supervisor"
BASE = "localhost/debian:12"  # what the short name of the Dockerfile finds first
GROUPS = f"supervisor-containers-{os.getpid()}"
# What this site's programs need to reach Debian's mirror and a Python index.
SITE = (Path("/etc/pip.conf"), Path("/usr/local/share/ca-certificates"))
# A server that cannot raise limits starts no container with higher ones.
# Debian's images have this too: dpkg need not write each file through to the disk.
SPEEDUP = "./etc/dpkg/dpkg.cfg.d/docker-apt-speedup"
LIMITS = ("--ulimit=nofile=4096:4096", "--ulimit=nproc=4096:4096")
START = 40.0


class Podman:
    """A podman with storage and control groups that nobody else has."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.command = [
            "podman",
            f"--root={top}/root",
            f"--runroot={top}/run",
            f"--tmpdir={top}/tmp",
            "--cgroup-manager=cgroupfs",
            "--events-backend=file",
            "--runtime=runc",
        ]

    def __call__(
        self, *arguments: str, check: bool = True, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run it from the top of the checkout."""
        done = subprocess.run(
            [*self.command, *arguments],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"podman {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done

    def docker(
        self, command: str, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Carry out a command of Docker's, with what podman needs on this kind of machine."""
        if command == "build":
            added = ("--format=docker", "--network=host", *LIMITS)
            return self("build", *added, *arguments, check=check, timeout=600)
        if command == "run":
            added = ("--network=none", f"--cgroup-parent=/{GROUPS}", *LIMITS)
            published = [word for word in arguments if not word.startswith("127.0.0.1:")]
            kept = [word for word in published if word != "--publish"]
            return self("run", *added, *kept, check=check)
        return self(command, *arguments, check=check)

    def container(self, name: str) -> Container:
        """Give the container of this name."""
        return Container(self, name)

    @contextmanager
    def started(self, name: str, *options: str) -> Iterator[Container]:
        """A running container of the image, removed at the end; wait for it with `until_ready`."""
        self.docker("run", "--detach", f"--name={name}", *options, IMAGE)
        try:
            yield self.container(name)
        finally:
            self("rm", "--force", "--time=0", name)

    def end(self) -> None:
        """Remove all that it has."""
        self("rm", "--all", "--force", "--time=0", check=False)
        for mounted in (f"{self.top}/root/overlay", f"{self.top}/root"):
            subprocess.run(["umount", mounted], capture_output=True, timeout=20, check=False)
        shutil.rmtree(self.top)
        for top, groups, _ in os.walk("/sys/fs/cgroup"):  # others' may go meanwhile
            if GROUPS in groups:
                for directory, _, _ in os.walk(f"{top}/{GROUPS}", topdown=False):
                    os.rmdir(directory)


class Container:
    """One container, by its name."""

    def __init__(self, podman: Podman, name: str) -> None:
        self.podman = podman
        self.name = name

    def state(self) -> Any:
        """Give what podman says of it."""
        return json.loads(self.podman("inspect", self.name).stdout)[0]["State"]

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""
        return self.podman("exec", self.name, *command, check=check)

    def supervisor(self, *arguments: str, check: bool = True) -> str:
        """Run a command of the command line in it; give what it printed."""
        return self.run("supervisor", *arguments, check=check).stdout

    def deploy(self, folder: Path) -> str:
        """Deploy a folder of the host; give what was said, the URL last."""
        self.podman("cp", str(folder), f"{self.name}:/tmp/{folder.name}")
        done = self.run("supervisor", "deploy", f"/tmp/{folder.name}")
        return done.stderr + done.stdout

    def log(self) -> str:
        """Give all that it has printed."""
        done = self.podman("logs", self.name)
        return done.stdout + done.stderr

    def until_ready(self) -> None:
        """Wait until its server answers visitors and commands."""
        self._until(lambda: self.run("supervisor", "list", check=False).returncode == 0)
        self._until(lambda: self.healthy())

    def healthy(self) -> bool:
        """Tell what the image's own check says."""
        return self.podman("healthcheck", "run", self.name, check=False).returncode == 0

    def stop(self) -> tuple[int, float]:
        """Stop it as `docker stop` does; give its exit status and the seconds that it took."""
        began = time.monotonic()
        self.podman("stop", self.name)
        return self.ended(), time.monotonic() - began

    def ended(self) -> int:
        """Wait until it has ended by itself; give its exit status."""
        self._until(lambda: self.state()["Status"] == "exited")
        return int(self.state()["ExitCode"])

    def zombies(self) -> list[int]:
        """Give the processes in it that have ended and that nobody has reaped."""
        found = []
        for process in psutil.Process(self.state()["Pid"]).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.status() == psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        return found

    def network(self) -> AbstractContextManager[None]:
        """Be in its network, with the processes that are started meanwhile."""
        return network_of(self.state()["Pid"])

    def _until(self, true: Callable[[], bool]) -> None:
        end = time.monotonic() + START
        while not true():
            assert time.monotonic() < end, f"not within {START} s: {self.log()}"
            time.sleep(0.2)


@contextmanager
def new_podman() -> Iterator[Podman]:
    """A podman that knows the base of the image."""
    podman = Podman(Path(tempfile.mkdtemp(prefix="cs-containers-")))
    try:
        archive = podman.top / "base.tar"
        _tar("-C", str(debian()), "--numeric-owner", "-cf", str(archive), ".")
        if site := list(_files_of_this_site()):
            _tar("-C", "/", "--dereference", "-rf", str(archive), *site)
        speedup = podman.top / SPEEDUP
        speedup.parent.mkdir(parents=True)
        speedup.write_text("force-unsafe-io\n")
        _tar("-C", str(podman.top), "-rf", str(archive), SPEEDUP)
        podman("import", str(archive), BASE)
        archive.unlink()
        yield podman
    finally:
        podman.end()


def _tar(*arguments: str) -> None:
    subprocess.run(["tar", *arguments], check=True, timeout=120)


def _files_of_this_site() -> Iterator[str]:
    for path in SITE:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                yield f".{file}"
