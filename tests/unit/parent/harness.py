"""A real parent over fake children, in a directory of its own, for the system tests."""

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
from typing import Any, TypeVar

CHILDREN = Path(__file__).parent / "children"
CORE, GATEWAY, INSTALL = 61001, 61002, 61003  # numbers that belong to nobody
T = TypeVar("T")
Note = dict[str, Any]


def wait_for(what: Callable[[], T], *, seconds: float = 10.0) -> T:
    """Give the first true answer of `what`; fail where there is none in time."""
    end = time.monotonic() + seconds
    while True:
        if answer := what():
            return answer
        assert time.monotonic() < end, f"nothing within {seconds} s"
        time.sleep(0.005)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Server:
    """One parent process, its directory and what its children noted down."""

    def __init__(self, directory: Path, *, settings: str = "", port: int | None = None) -> None:
        self.directory = directory
        self.run_dir = directory / "run"
        self.port = port or free_port()
        self.config = directory / "supervisor.gcfg"
        self.journal = directory / "journal"
        self.journal.touch()
        self.journal.chmod(0o666)
        self.config.write_text(
            f"[Server]\nDataDir = {directory}/data\nRunDir = {self.run_dir}\n"
            f"[HTTP]\nListen = 127.0.0.1:{self.port}\n"
            f"[Privileged]\nCoreUser = {CORE}\nGatewayUser = {GATEWAY}\nInstallUser = {INSTALL}\n"
            f"AdminGroup = 61004\n{settings}"
        )
        self.config.chmod(0o644)
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *, programs: Sequence[str], do: Mapping[str, Sequence[str]]) -> list[str]:
        argvs = {
            name: [
                sys.executable, "-I", str(CHILDREN / "fake.py"), str(self.journal), name,
                *(f"--do={what}" for what in do.get(name, ())),
            ]
            for name in programs
        }  # fmt: skip
        parent = str(CHILDREN / "parent.py")
        return [sys.executable, "-I", parent, str(self.config), json.dumps(argvs)]

    def start(
        self,
        *,
        programs: Sequence[str] = ("core", "gateway", "helper"),
        do: Mapping[str, Sequence[str]] | None = None,
        environ: Mapping[str, str] | None = None,
        within: Sequence[str] = (),
        uid: int | None = None,
    ) -> Server:
        """Start the parent; `within` is a command that runs it, such as unshare."""
        with open(self.directory / "log", "ab") as log:
            self.process = subprocess.Popen(
                [*within, *self.command(programs=programs, do=do or {})],
                stdout=log,
                stderr=log,
                env={**os.environ, **(environ or {})},
                user=uid,
                group=uid,
                extra_groups=[] if uid is not None else None,
            )
        return self

    def ready(self) -> Server:
        wait_for(lambda: " parent ready " in self.log() or self.over())
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        return self

    def over(self) -> bool:
        return self.process is None or self.process.poll() is not None

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def notes(self, name: str | None = None, event: str | None = None) -> list[Note]:
        lines = self.journal.read_text().splitlines()
        notes: list[Note] = [json.loads(line) for line in lines]
        return [
            note
            for note in notes
            if name in (None, note["name"]) and event in (None, note["event"])
        ]

    def note(self, name: str, event: str, *, seconds: float = 10.0, nth: int = 0) -> Note:
        wait_for(lambda: len(self.notes(name, event)) > nth, seconds=seconds)
        return self.notes(name, event)[nth]

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self, seconds: float = 10.0) -> int:
        """Wait for the parent's end and give its exit status."""
        assert self.process is not None
        return self.process.wait(seconds)

    def pids(self) -> set[int]:
        return {note["pid"] for note in self.notes(event="started")}

    def ask(self, name: str) -> str:
        """Connect to a socket of RunDir and give what the child behind it says."""
        kind = socket.SOCK_STREAM if name == "core" else socket.SOCK_SEQPACKET
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.settimeout(5)
            sock.connect(str(self.run_dir / f"{name}.sock"))
            return sock.recv(100).decode().strip()

    def ask_http(self) -> str:
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
            return sock.recv(100).decode().strip()

    def end(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(5)
        for pid in self.pids():
            with suppress(ProcessLookupError):
                if alive(pid) and str(self.journal) in Path(f"/proc/{pid}/cmdline").read_text():
                    os.kill(pid, signal.SIGKILL)
                    wait_for(lambda pid=pid: not alive(pid))  # type: ignore[misc]


@contextmanager
def server(*, settings: str = "") -> Iterator[Server]:
    """Give a server in a fresh directory that every user may enter; nothing of it is left."""
    directory = Path(tempfile.mkdtemp(prefix="parent-"))
    directory.chmod(0o711)
    one = Server(directory, settings=settings)
    try:
        yield one
    finally:
        one.end()
        shutil.rmtree(directory, ignore_errors=True)
