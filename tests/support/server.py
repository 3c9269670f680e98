"""A real server for tests: `supervisor serve` as root or not, with its own DataDir and RunDir."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from tests.support.overlay import overlay

CORE, GATEWAY, INSTALL = 61801, 61802, 61803  # uids that need not exist
WAITING = ("content-zygote", "content-next")  # the helper's own, for the next start
START = 30.0
CONTENT_PYTHON = Path(__file__).parents[2] / ".dev" / "python"


class LiveServer:
    """One running server. pids are looked up anew each time: children come and go."""

    def __init__(
        self,
        base: Path,
        *,
        uid: int = 0,
        extra: str = "",
        port: int | None = None,
        plugins: Mapping[str, str] | None = None,
        python: Path | None = None,
    ) -> None:
        self.base = base
        self.python = overlay(base / "venv", plugins) if plugins else python or Path(sys.executable)
        self.command = (python or Path(sys.executable)).with_name("supervisor")
        self.uid = uid
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.run_dir = base / "run"
        self.data_dir = base / "data"
        self.log_path = base / "service.log"
        self.config = base / "supervisor.gcfg"
        self.config.write_text(self._configuration() + extra)
        self.config.chmod(0o644)
        self.process: subprocess.Popen[bytes] | None = None

    def _configuration(self) -> str:
        lines = [
            "[Server]",
            f"DataDir = {self.data_dir}",
            f"RunDir = {self.run_dir}",
            "[HTTP]",
            f"Listen = 127.0.0.1:{self.port}",
            "[Applications]",
            "UidFirst = 300000",
            "UidLast = 399999",
            "[Privileged]",
            f"CoreUser = {CORE}",
            f"GatewayUser = {GATEWAY}",
            f"InstallUser = {INSTALL}",
        ]
        if CONTENT_PYTHON.exists():
            lines += [
                "[Python]",
                f"Executable = {CONTENT_PYTHON}/bin/python",
                '[Mount "content-python"]',
                f"Path = {CONTENT_PYTHON}",
            ]
        return "\n".join(lines) + "\n"

    # -- its life -----------------------------------------------------------------------------

    def start(self, *, wait: bool = True, within: Sequence[str] = ()) -> LiveServer:
        """Start it; return once the command line gets an answer and the gateway too.

        within: a command that runs another one, given as its last arguments, and becomes it; it
        becomes the user by itself, too.
        """
        own = 0 if within else self.uid
        command = [str(self.python), "-I", "-m", "supervisor.parent", "--config", str(self.config)]
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*within, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=own or None,
                group=own or None,
                extra_groups=[] if own else None,
                env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": str(self.base)},
            )
        if wait:
            self.until(lambda: self.supervisor("list", check=False).returncode == 0, START)
            self.until(lambda: self.ping() == 200, START)
        return self

    def stop(self, timeout: float = 15.0) -> int:
        """SIGTERM; give the exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def end(self) -> None:
        """End it however it is, at the end of a test."""
        if self.process is not None and self.process.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    # -- what it says -------------------------------------------------------------------------

    def supervisor(
        self, *args: str, check: bool = True, timeout: float = 120.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command of the command line against it."""
        done = subprocess.run(
            [str(self.command), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={**os.environ, "SUPERVISOR_SOCKET": str(self.run_dir / "core.sock")},
            user=self.uid or None,
            group=self.uid or None,
        )
        if check and done.returncode != 0:
            raise AssertionError(f"supervisor {' '.join(args)}: {done.stdout}{done.stderr}")
        return done

    def json(self, *args: str) -> Any:
        """Run a command with --json and give what it printed."""
        return json.loads(self.supervisor(*args, "--json").stdout)

    def deploy(self, folder: Path | str, name: str) -> str:
        """Deploy a folder; give the path of its URL, `/content/{guid}/`."""
        self.supervisor("deploy", str(folder), "--name", name)
        return self.path(name)

    def path(self, name: str) -> str:
        """The path of a content's URL."""
        return f"/content/{self.row('list', name=name)['guid']}/"

    def row(self, command: str, **fields: object) -> dict[str, Any]:
        """The one row of `list` or `ps` whose fields are these."""
        (found,) = self.rows(command, **fields)
        return found

    def rows(self, command: str, **fields: object) -> list[dict[str, Any]]:
        """The rows of `list` or `ps` whose fields are these."""
        return [
            row
            for row in self.json(command)
            if all(row.get(key) == value for key, value in fields.items())
        ]

    def ping(self) -> int:
        """The gateway's own answer, 0 where it does not listen."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
                sock.sendall(b"GET /__ping__ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                return int(sock.recv(4096).split()[1])
        except (OSError, IndexError):
            return 0

    def log(self) -> str:
        """The service log so far."""
        return self.log_path.read_text(errors="replace")

    def until(self, true: Callable[[], bool], seconds: float, what: str = "") -> None:
        """Wait until something holds; fail with the service log where it does not."""
        end = time.monotonic() + seconds
        while not true():
            if self.process is not None and self.process.poll() is not None:
                raise AssertionError(f"the server ended: {self.log()}")
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {what or true}\n{self.log()}")
            time.sleep(0.05)

    # -- its processes ------------------------------------------------------------------------

    @property
    def parent(self) -> int:
        """The pid of the parent."""
        assert self.process is not None
        return self.process.pid

    def child(self, module: str) -> int | None:
        """The pid of the youngest child of a module (`supervisor.core`), or None."""
        found: dict[float, int] = {}
        for process in psutil.Process(self.parent).children():
            try:
                if module in process.cmdline():
                    found[process.create_time()] = process.pid
            except psutil.Error:
                continue
        return found[max(found)] if found else None

    @property
    def core(self) -> int | None:
        """The pid of the core."""
        return self.child("supervisor.core")

    @property
    def gateway(self) -> int | None:
        """The pid of the gateway."""
        return self.child("supervisor.gateway")

    @property
    def helper(self) -> int | None:
        """The pid of the helper."""
        return self.child("supervisor_unshare.launcher")

    def owners(self) -> set[int]:
        """The users of all its processes, its contents' too, but of those that have just ended."""
        parent, found = psutil.Process(self.parent), set()
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                found.add(process.uids().real)
        return found

    def strangers(self) -> list[psutil.Process]:
        """Every process of content: what descends from the helper, inits included.

        Not what waits for the next job, and what that is made from.
        """
        helper = self.helper
        below = [] if helper is None else psutil.Process(helper).children(recursive=True)
        return [process for process in below if name_of(process) not in WAITING]


def name_of(process: psutil.Process) -> str:
    """Give a process's name; nothing once it is gone."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return ""


def free_port(above: int = 0) -> int:
    """A port that nobody listens on, below the ephemeral range.

    Processes that look at the same time begin far from each other: none is taken twice.
    """
    for port in range(max(20000 + os.getpid() * 101 % 10_000, above + 1), 32000):
        with socket.socket() as sock:
            try:
                sock.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


@contextmanager
def server_directory(uid: int = 0) -> Iterator[Path]:
    """A directory that service users can enter and only `uid` can change; removed at the end."""
    base = Path(tempfile.mkdtemp(prefix="csv-"))
    base.chmod(0o755)
    os.chown(base, uid, uid)
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def live_server(
    *,
    uid: int = 0,
    extra: str = "",
    start: bool = True,
    plugins: Mapping[str, str] | None = None,
) -> Iterator[LiveServer]:
    """A server for one test or module."""
    with server_directory(uid) as base:
        server = LiveServer(base, uid=uid, extra=extra, plugins=plugins)
        if uid:
            os.chown(server.config, uid, uid)
        try:
            if start:
                server.start()
            yield server
        finally:
            server.end()


def kill(pid: int | None, number: int = signal.SIGKILL) -> None:
    """Send a signal to a process that must exist."""
    assert pid is not None
    os.kill(pid, number)


def gone(pids: Sequence[int], seconds: float) -> bool:
    """Whether all processes are gone within `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if not any(_lives(pid) for pid in pids):
            return True
        time.sleep(0.02)
    return False


def _lives(pid: int) -> bool:
    """Whether a process can still do anything: a zombie waits for whoever reaps, and cannot."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
