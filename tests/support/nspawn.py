"""A Debian of its own, booted with systemd in a container of systemd-nspawn. Needs root.

Its root is made once, in `.dev/machine`; what a test changes in it lies in memory and is gone with
it. Its network is its own: loopback alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import psutil

from tests.support.network import network_of

ROOT = Path(__file__).parents[2]
PLACE = ROOT / ".dev" / "machine"
PACKAGES = "systemd systemd-sysv dbus python3 init-system-helpers passwd procps".split()
BOOT = 60.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def debian() -> Path:
    """Give the root of a bare Debian 12, made by debootstrap from where this host's apt looks."""
    with open(PLACE.with_suffix(".lock"), "w") as lock:  # two processes may want it at once
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PLACE.exists():
            _make(PLACE)
    return PLACE


def _make(place: Path) -> None:
    listed = ("--format", "$(REPO_URI)", "Origin: Debian", "Codename: bookworm")
    mirrors = _output("apt-get", "indextargets", *listed).split()
    assert mirrors, "apt here knows no mirror of Debian 12 (apt-get update)"
    new = Path(tempfile.mkdtemp(prefix="machine-", dir=place.parent))
    include = f"--include={','.join(PACKAGES)}"
    _output("debootstrap", "--variant=minbase", include, "bookworm", str(new), mirrors[0])
    new.chmod(0o755)
    new.rename(place)


class Machine:
    """One booted machine. shown: folders of the host that it sees, read-only, at their paths."""

    def __init__(self, shown: Sequence[Path] = ()) -> None:
        binds = [f"--bind-ro={path}" for path in shown]
        self._groups = [group / f"supervisor-test-{os.getpid()}" for group in _hierarchies()]
        for group in self._groups:
            group.mkdir(exist_ok=True)
        join = "".join(f"echo 0 >{group}/cgroup.procs; " for group in self._groups)
        nspawn = [
            "systemd-nspawn", f"--directory={debian()}", "--boot", "--register=no", "--keep-unit",
            "--private-network", "--volatile=overlay", "--console=pipe", "--quiet", *binds,
        ]  # fmt: skip
        self._nspawn = subprocess.Popen(
            ["sh", "-c", f'{join}exec "$@"', "sh", *nspawn],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": _PATH, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        try:
            self._init = self._booted()
        except BaseException:
            self.end()
            raise

    def _booted(self) -> int:
        end = time.monotonic() + BOOT
        while time.monotonic() < end:
            for child in psutil.Process(self._nspawn.pid).children():
                self._init = child.pid
                state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
                if state in ("running", "degraded"):
                    return child.pid
            assert self._nspawn.poll() is None, "systemd-nspawn ended"
            time.sleep(0.1)
        raise AssertionError(f"the machine has not booted within {BOOT} s")

    def run(
        self, *command: str, check: bool = True, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the machine, as its root."""
        done = subprocess.run(
            ["nsenter", f"--target={self._init}", "--all", "--", *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
            env={"PATH": _PATH, "LANG": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        )
        if check and done.returncode:
            log = self.run("journalctl", "--no-pager", "--lines=60", check=False).stdout
            raise AssertionError(f"{command}: {done.stdout}{done.stderr}\n{log}")
        return done

    def path(self, path: str) -> Path:
        """Give a path of the machine as the host sees it."""
        return Path(f"/proc/{self._init}/root{path}")

    def put(self, file: Path) -> str:
        """Copy a file of the host into the machine; give its path there."""
        shutil.copy(file, self.path(f"/root/{file.name}"))
        return f"/root/{file.name}"

    def network(self) -> AbstractContextManager[None]:
        """Be in the machine's network, with the processes that are started meanwhile."""
        return network_of(self._init)

    def end(self) -> None:
        """End it and all that runs in it at once."""
        for process in psutil.Process(self._nspawn.pid).children():
            process.send_signal(signal.SIGKILL)
        try:
            self._nspawn.wait(10)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        for group in self._groups:
            for path in sorted(group.rglob("*/"), reverse=True):
                path.rmdir()
            group.rmdir()


def _hierarchies() -> list[Path]:
    """Give the control groups beneath which nspawn makes its own."""
    top = Path("/sys/fs/cgroup")
    mixed = [path for name in ("systemd", "unified") if (path := top / name).is_dir()]
    return mixed or [top]


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
