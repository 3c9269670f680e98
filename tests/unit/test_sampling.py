"""Samples of processes: right, of the right process, and with no file left open."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psutil
import pytest

from supervisor.sampling import LOOK_EACH, Processes, Trees, children

SLEEPS = "import time; time.sleep(60)"
PARENT = (
    "import subprocess, sys, time\n"
    f"p = [subprocess.Popen([sys.executable, '-c', '{SLEEPS}']) for _ in range(2)]\n"
    "print('ready', flush=True)\nsys.stdin.readline()\n"
    "p[0].kill(); p[0].wait()\nprint('killed', flush=True)\ntime.sleep(60)"
)


@contextmanager
def started(script: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            with suppress(psutil.NoSuchProcess):
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()
            process.kill()


@pytest.fixture
def processes() -> Iterator[Processes]:
    made = Processes()
    yield made
    made.close()


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_sample_is_what_psutil_says(processes: Processes) -> None:
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        pass
    sample = processes.read(os.getpid())
    assert sample is not None
    times = psutil.Process().cpu_times()
    total = times.user + times.system + times.children_user + times.children_system
    assert sample.cpu == pytest.approx(total, abs=0.1)
    assert sample.memory == pytest.approx(psutil.Process().memory_info().rss, rel=0.1)


def test_a_process_that_has_ended_gives_nothing_and_leaves_no_file(processes: Processes) -> None:
    with started(SLEEPS) as process:
        before = open_files()
        assert processes.read(process.pid) is not None
        assert before + 1 == open_files()
        process.kill()
        process.wait()
        assert processes.read(process.pid) is None
        assert before == open_files()


def test_more_files_than_may_be_open_are_read_all_the_same() -> None:
    processes = Processes(most_open=0)
    before = open_files()
    assert processes.read(os.getpid()) is not None
    assert before == open_files()


def test_a_command_with_brackets_and_blanks_in_its_name_is_read(processes: Processes) -> None:
    with started(
        f"open('/proc/self/comm', 'w').write('a) R 1 (b c')\nprint(1, flush=True)\n{SLEEPS}"
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        sample = processes.read(process.pid)
        assert sample is not None
        rss = psutil.Process(process.pid).memory_info().rss
        assert sample.memory == pytest.approx(rss, rel=0.2)


def test_a_tree_is_all_that_lies_below_its_root(processes: Processes) -> None:
    now = 0.0
    trees = Trees(processes, clock=lambda: now)
    with started(PARENT) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        below = children(process.pid)
        sample, count = trees.read(process.pid)
        assert (2, 2) == (len(below), count)
        assert sample.memory > 0
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert 1 == trees.read(process.pid)[1]
        trees.keep_only([])
        now = LOOK_EACH
    assert 0 == trees.read(process.pid)[1]


def test_a_new_process_is_seen_at_the_next_look(processes: Processes) -> None:
    now = 0.0
    trees = Trees(processes, clock=lambda: now)
    before = trees.read(os.getpid())[1]
    with started(SLEEPS):
        assert before == trees.read(os.getpid())[1]
        now = LOOK_EACH
        assert before + 1 == trees.read(os.getpid())[1]


def test_trees_that_are_not_asked_for_any_more_keep_no_file(processes: Processes) -> None:
    trees = Trees(processes)
    with started(PARENT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        before = open_files()
        trees.read(process.pid)
        trees.keep_only([os.getpid()])
        assert before == open_files()
