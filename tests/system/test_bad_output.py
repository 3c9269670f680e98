"""Apps that print garbage or without end: nobody waits for them, memory and disk stay bounded."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from types import TracebackType

import psutil
import pytest

from tests.support.leftovers import nothing_is_left
from tests.support.server import LiveServer
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


def on_disk(server: LiveServer, name: str) -> int:
    """Bytes of the log files of a content."""
    runs = {r["id"] for r in server.json("ps", "--all") if r["content"]["name"] == name}
    files = (server.data_dir / "jobs").rglob("*")
    return sum(
        path.stat().st_size
        for path in files
        if path.is_file() and any(run in str(path) for run in runs)
    )


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
    assert on_disk(server, name) < MOST_ON_DISK
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
    assert 0 < on_disk(server, name) < MOST_ON_DISK
    _harmed_nobody(watch)
    server.supervisor("remove", name, "--yes")
    assert on_disk(server, name) == 0
    nothing_is_left(server)


def _flooding(server: LiveServer) -> bool:
    return any(process.name() in ("yes", "head") for process in server.strangers())


def _harmed_nobody(watch: Watch) -> None:
    assert watch.answers == {200}
    assert watch.slowest < 5.0
    assert watch.memory - watch.started_with < 64 * MEGABYTE
    print(f"slowest {watch.slowest:.2f} s, core grew by {watch.memory - watch.started_with} bytes")
