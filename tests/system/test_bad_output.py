"""Apps that print garbage or without end: nobody waits for them, memory and disk stay bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import psutil
import pytest

from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer, name_of
from tests.system.conftest import BAD, EXAMPLES
from tests.system.test_bad_apps import fetch

pytestmark = pytest.mark.system

MEGABYTE = 1024 * 1024
LINE = 8 * 1024  # of what a line may keep
MOST_ON_DISK = 17 * MEGABYTE  # of one run: two files, and what the budget lets through at once


class Watch:
    """Ask another app, and measure the core, all the while."""

    def __init__(self, server: LiveServer, path: str) -> None:
        self.memory = self.started_with = _memory(server)
        self.slowest = 0.0
        self.answers: set[int] = set()
        self._server = server
        self._path = path
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.is_set():
            begun = time.monotonic()
            self.answers.add(fetch(self._server, self._path)[0])
            self.slowest = max(self.slowest, time.monotonic() - begun)
            self.memory = max(self.memory, _memory(self._server))
            time.sleep(0.05)


def _memory(server: LiveServer) -> int:
    return int(psutil.Process(server.core).memory_info().rss)


@pytest.fixture(scope="module")
def good(server: LiveServer) -> Iterator[str]:
    yield server.deploy(EXAMPLES / "shiny-python-core", "good")
    nothing_is_left(server)


def logs_of(server: LiveServer, name: str) -> list[Path]:
    """The log files of a content's runs."""
    number = server.row("list", name=name)["id"]
    return [path for path in (server.data_dir / "jobs" / number).rglob("*") if path.is_file()]


def size(files: list[Path]) -> int:
    """Bytes of those files that are there; one may be given up meanwhile."""
    found = 0
    for path in files:
        with suppress(FileNotFoundError):
            found += path.stat().st_size
    return found


@pytest.mark.parametrize("language", ["r", "python"])
def test_garbage_and_a_line_of_a_hundred_megabytes_are_readable_and_small(
    server: LiveServer, good: str, language: str
) -> None:
    name = f"{language}-garbage"

    with Watch(server, good) as watch:
        path = server.deploy(BAD / f"{language}-prints-garbage", name)
        assert fetch(server, path)[0] == 200

    log = server.supervisor("logs", name).stdout
    assert "�" in log
    assert "\\x00" in log
    assert "\\x1b" in log, "no escape sequence reaches a terminal"
    assert "not kept" in log
    assert "after the garbage" in log
    assert not any(ord(character) < 32 for character in log.replace("\n", ""))
    assert max(map(len, log.splitlines())) < LINE + 200
    assert 0 < size(logs_of(server, name)) < MOST_ON_DISK
    _harmed_nobody(watch)
    server.supervisor("remove", name, "--yes")
    nothing_is_left(server)


@pytest.mark.parametrize("language", ["r", "python"])
def test_a_gigabyte_of_log_costs_neither_memory_nor_disk(
    server: LiveServer, good: str, language: str
) -> None:
    name = f"{language}-flood"

    with Watch(server, good) as watch:
        path = server.deploy(BAD / f"{language}-floods-the-log", name)
        server.until(lambda: not _flooding(server), 60, "the end of the flood")
        assert fetch(server, path)[0] == 200

    log = server.supervisor("logs", name, "-n", "1000").stdout
    assert "a line of the flood" in log
    assert len(log) < MEGABYTE
    files = logs_of(server, name)
    assert 0 < size(files) < MOST_ON_DISK
    _harmed_nobody(watch)
    server.supervisor("remove", name, "--yes")
    assert size(files) == 0
    nothing_is_left(server)


FLOOD_AND_FAIL = {
    "r": (
        "app.R",
        'library(shiny)\nsystem("yes a line of the flood | head -c 100000000")\n'
        'stop("no database at db.example")\n',
    ),
    "python": (
        "app.py",
        "import shiny, subprocess\n"
        "subprocess.run('yes a line of the flood | head -c 100000000', shell=True)\n"
        "raise RuntimeError('no database at db.example')\n",
    ),
}


@pytest.mark.parametrize("language", ["r", "python"])
def test_the_reason_of_a_failure_is_not_drowned_by_a_flood(
    server: LiveServer, good: str, language: str, tmp_path: Path
) -> None:
    name, source = FLOOD_AND_FAIL[language]
    (tmp_path / name).write_text(source)

    done = server.supervisor("deploy", str(tmp_path), "--name", "good", check=False)

    assert done.returncode == 69
    assert "no database at db.example" in done.stderr
    assert fetch(server, good)[0] == 200
    nothing_is_left(server)


def _flooding(server: LiveServer) -> bool:
    return any(name_of(process) in ("yes", "head") for process in server.strangers())


def _harmed_nobody(watch: Watch) -> None:
    assert watch.answers == {200}
    assert watch.slowest < 5.0
    assert watch.memory - watch.started_with < 64 * MEGABYTE
    print(f"slowest {watch.slowest:.2f} s, core grew by {watch.memory - watch.started_with} bytes")
