"""Start and stop a cluster: one node of Kubernetes 1.20 in namespaces of its own."""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.kube import pki, programs
from tests.kube.images import make_pause
from tests.kube.place import ARCHIVE, CHECKOUT, Failed, Place, end, start_time

VERSION = "1.20.2"
PATIENCE = 180.0  # seconds until everything is ready
PR_SET_PDEATHSIG = 1

# what each Debian package is needed for; ./dev system installs them
PACKAGES = {
    "etcd-server": "etcd",
    "containerd": "containerd",
    "runc": "runc",
    "containernetworking-plugins": f"{programs.CNI}/bridge",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "iproute2": "ip",
    "openssl": "openssl",
    "zstd": "zstd",
}
NAMESPACES = ["--net", "--mount", "--cgroup", "--pid", "--uts", "--ipc"]


def missing() -> str:
    """Why there can be no cluster here for now, or ""."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    lacking = [
        package for package, program in PACKAGES.items() if not shutil.which(program, path=path)
    ]
    if os.geteuid() != 0:
        return "needs root"
    if lacking:
        return f"needs the Debian packages {' '.join(lacking)} (./dev system)"
    if not ARCHIVE or not Path(ARCHIVE).exists():
        where = ARCHIVE or "TEST_KUBE_ARCHIVE"
        return f"needs the programs of Kubernetes {VERSION} in {where} (tests/kube/build)"
    return ""


def host_lacks() -> str:
    """What only another kernel or host could give, or ""."""
    if ":memory:" not in Path("/proc/self/cgroup").read_text():
        return "a memory controller of cgroup v1"
    tried = subprocess.run(["unshare", *NAMESPACES, "--fork", "true"], capture_output=True)
    return "" if tried.returncode == 0 else "namespaces (CAP_SYS_ADMIN and CAP_NET_ADMIN)"


def up(place: Place, *, api_only: bool = False, with_caller: bool = False) -> bool:
    """Start a cluster and wait until it is ready; False when it was up already.

    It begins with empty state and the images made so far. api_only: without a node, so that Pods
    stay pending; with_caller: it ends with this process, also when that is killed. Failed says why
    it does not work, with the end of the logs.
    """
    with locked(place):
        without_node = place.root / "api-only"
        if place.holder() and place.ready.exists():
            if without_node.exists() and not api_only:
                raise Failed("the cluster is up without a node; ./dev kube down ends it")
            return False
        _clean(place)
        if why := missing() or host_lacks():
            raise Failed(why)
        unpack(place)
        for directory in (place.log, place.volumes, place.images):
            directory.mkdir(exist_ok=True)
        pki.write(place)
        programs.write_files(place)
        make_pause(place)
        if api_only:
            without_node.touch()
        _start(place, api_only, with_caller)
        _wait(place)
        return True


def down(place: Place, *, purge: bool = False) -> None:
    """End the cluster and remove what it left; purge: also programs, images and logs."""
    if place.root.exists():
        with locked(place):
            _clean(place)
        if purge:
            shutil.rmtree(place.root)


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """One `up`, `down` or `image` at a time."""
    place.root.mkdir(mode=0o755, parents=True, exist_ok=True)
    with (place.root / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def unpack(place: Place) -> None:
    """Unpack the programs, once for each archive."""
    found = Path(ARCHIVE).stat()
    stamp = f"{found.st_size} {found.st_mtime_ns}"
    marker = place.bin / ".stamp"
    if marker.exists() and marker.read_text() == stamp:
        return
    shutil.rmtree(place.bin, ignore_errors=True)
    place.bin.mkdir(parents=True)
    command = ["tar", "--zstd", "--extract", "--file", ARCHIVE, "--directory", str(place.bin)]
    subprocess.run(command, check=True, timeout=300)
    marker.write_text(stamp)


def _start(place: Place, api_only: bool, with_caller: bool) -> None:
    groups = _make_groups(place)
    caller = os.getpid()

    def before_exec() -> None:
        for group in groups:
            (group / "cgroup.procs").write_text(str(os.getpid()))
        if with_caller:
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != caller:
                os._exit(1)

    inside = [sys.executable, "-m", "tests.kube.inside", str(place.root)]
    inside += ["--api-only"] if api_only else []
    environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    with (place.log / "cluster.log").open("ab") as log:
        holder = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", *inside],
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=before_exec,
            start_new_session=True,
        )
    place.pidfile.write_text(f"{holder.pid} {start_time(holder.pid)}")


def _wait(place: Place) -> None:
    deadline = time.monotonic() + PATIENCE
    while not place.ready.exists():
        if place.holder() is None:
            why = "the start failed"
        elif time.monotonic() > deadline:
            why = f"not ready after {PATIENCE:g} s"
        else:
            time.sleep(0.1)
            continue
        said = "".join(f"\n== {log.name}\n{_tail(log)}" for log in sorted(place.log.iterdir()))
        _clean(place)
        raise Failed(f"{why}; the logs in {place.log} end with{said}")


def _tail(path: Path) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-5:])


def _make_groups(place: Place) -> list[Path]:
    """A group of ours in each hierarchy, below the caller's, whose limits then hold for us."""
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, own = line.split(":", 2)
        if number == "0":
            continue
        hierarchy = Path("/sys/fs/cgroup") / controllers.removeprefix("name=")
        parent = hierarchy / own.strip("/")
        group = (parent if parent.is_dir() else hierarchy) / place.group
        group.mkdir(exist_ok=True)
        if controllers == "cpuset":
            for name in ("cpuset.cpus", "cpuset.mems"):
                (group / name).write_text((group.parent / name).read_text())
            (group / "cgroup.clone_children").write_text("1")
        made.append(group)
    (place.root / "groups").write_text("".join(f"{group}\n" for group in made))
    return made


def _clean(place: Place) -> None:
    """End what runs and remove the state of the last cluster."""
    if holder := place.holder():
        with suppress(Failed):
            init = place.init()
            end(holder)
            end(init)
        end(holder)
    groups = place.root / "groups"
    if groups.exists():
        for group in groups.read_text().split():
            _remove_group(Path(group))
    kept = {"bin", "images", "lock"}
    for entry in place.root.iterdir():
        if entry.name not in kept:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def _remove_group(group: Path) -> None:
    assert group.name.startswith("supervisor-kube-"), group
    deadline = time.monotonic() + 10
    while group.exists():
        for directory, _, _ in os.walk(group, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)
        if time.monotonic() > deadline:
            raise Failed(f"processes remain in {group}")
        time.sleep(0.02)
