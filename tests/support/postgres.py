"""A real Postgres for tests: Debian's binaries, as an ordinary user, on a Unix socket alone.

Tests take the fixtures of conftest.py: `postgres_url`, an empty database of a server that the
session shares, or `own_postgres`, a server of the test's own, to be killed and started again.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

START = 30.0
_USERS = ("postgres", "nobody")  # initdb refuses root, and users without a name
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0777",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_duration_statement": "-1",
}


def binaries() -> Path | None:
    """Give the directory of the newest server's programs; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_major)
    return found[-1].parent if found else None


def _major(program: Path) -> int:
    return int(program.parent.parent.name)


class Postgres:
    """One server, its data and its socket in `directory`. start() and kill() any number of times.

    durable: whether it waits for the disk at each commit, as it should wherever it counts; tests
    that kill processes, not machines, do not need it.
    """

    def __init__(self, directory: Path, *, durable: bool = False) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.process: subprocess.Popen[bytes] | None = None
        self._durable = durable
        self._numbers = itertools.count(1)

    # -- its life -----------------------------------------------------------------------------

    def start(self) -> Postgres:
        """Start it; return once it answers."""
        programs = binaries()
        assert programs is not None
        settings = {**_SETTINGS, "fsync": "on" if self._durable else "off"}
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(programs / "postgres"), "-D", str(self.data), "-k", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *given],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                **_as_user(),
            )
        end = time.monotonic() + START
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > end:
                log_text = (self.directory / "log").read_text(errors="replace")
                raise AssertionError(f"Postgres did not start:\n{log_text}")
            time.sleep(0.02)
        return self

    def stop(self) -> None:
        """Let it end in order, cutting off whoever is connected. Nothing where it does not run."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Kill all of its processes at once, as the loss of its machine would."""
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Stop all of its processes: it is there and does not answer."""
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def resume(self) -> None:
        """Let its processes go on."""
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def _end(self, number: int) -> None:
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(number)
            self.process.wait(START)
            self.process = None

    def _tree(self) -> list[psutil.Process]:
        if self.process is None:
            return []
        postmaster = psutil.Process(self.process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    # -- its databases ------------------------------------------------------------------------

    def url(self, database: str = "postgres", user: str = "supervisor") -> str:
        """Give the URL of a database, as [Postgres] URL has it."""
        return f"postgres://{user}@/{database}?host={quote(str(self.directory), safe='')}"

    def new_database(self) -> str:
        """Make an empty database and give its URL."""
        name = f"test{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, url: str | None = None) -> list[tuple[Any, ...]]:
        """Execute a statement outside of any transaction; give its rows, if it has any."""
        import psycopg

        with closing(psycopg.connect(url or self.url(), autocommit=True)) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def answers(self) -> bool:
        """Whether it lets somebody in."""
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def new_postgres(*, durable: bool = False) -> Iterator[Postgres]:
    """A server of one's own, ended and removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="cspg-", dir="/tmp"))
    postgres = Postgres(directory, durable=durable)
    try:
        subprocess.run(["cp", "-a", str(_template()), str(postgres.data)], check=True, timeout=60)
        _hand_over(directory)
        yield postgres.start()
    finally:
        postgres.resume()
        postgres.kill()
        shutil.rmtree(directory, ignore_errors=True)


@cache
def _template() -> Path:
    """Make the files of a new server once: everybody may come in as `supervisor`, a superuser."""
    programs = binaries()
    assert programs is not None
    directory = Path(tempfile.mkdtemp(prefix="cspg-template-", dir="/tmp"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    _hand_over(directory)
    command = [str(programs / "initdb"), "-D", str(directory / "data"), "--no-sync"]
    command += ["-U", "supervisor", "--auth=trust", "--encoding=UTF8", "--locale=C"]
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=directory,
        timeout=120,
        **_as_user(),
    )
    return directory / "data"


def _hand_over(directory: Path) -> None:
    """Let others come to the socket, and the server's user own the directory."""
    directory.chmod(0o755)
    user = _as_user()
    if user:
        os.chown(directory, user["user"], user["group"])


@cache
def _as_user() -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    for name in _USERS:
        with suppress(KeyError):
            user = pwd.getpwnam(name)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise AssertionError(f"none of the users {', '.join(_USERS)} exists")
