"""Nothing of a spawned child outlives it, or the process that spawned it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import trio

from supervisor import Cause, Child, Exit, spawn

# A tree that does not want to end: deaf to what asks, in sessions and groups of its own, orphaned.
STUBBORN = """
trap '' TERM INT HUP
setsid sh -c 'trap "" TERM INT HUP; sleep 600' &
(sh -c '(trap "" TERM INT HUP; setsid sleep 602 &)' &)
nohup sleep 603 >/dev/null 2>&1 &
sleep 0.2
echo ready
while :; do sleep 0.05; done
"""


@pytest.fixture
def mark() -> str:
    """A variable of the environment, by which processes of this test are found."""
    return f"SPAWNED_BY={os.getpid()}-{time.monotonic_ns()}"


def marked(mark: str) -> list[psutil.Process]:
    """Every living process whose environment has the mark."""
    name, _, value = mark.partition("=")
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(name) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def shell(script: str, mark: str, stdout: int | None = None) -> Child:
    name, _, value = mark.partition("=")
    env = {"PATH": "/usr/bin:/bin", name: value}
    return spawn(["/bin/sh", "-c", script], env=env, stdout=stdout)


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    for end in (read, write):
        try:
            os.close(end)
        except OSError:
            continue


def exited(code: int, cause: Cause) -> Exit:
    return Exit(code=code, cause=cause) if code >= 0 else Exit(signal=-code, cause=cause)


async def line(read: int) -> bytes:
    await trio.lowlevel.wait_readable(read)
    return os.read(read, 4096)


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", -9), ("kill -11 $$", -11), ("kill -13 $$", -13)],
)
async def test_the_code_is_that_of_the_child(script: str, code: int, mark: str) -> None:
    with trio.fail_after(20):
        ended = await shell(script, mark).wait()
    assert exited(code, Cause.FAILED if code else Cause.FINISHED) == ended


async def test_several_may_wait(mark: str) -> None:
    ends = []
    child = shell("sleep 0.1; exit 3", mark)

    async def wait() -> None:
        ends.append(await child.wait())

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
    assert [exited(3, Cause.FAILED)] * 2 == ends
    assert ends[0] == child.exit


async def test_a_command_that_is_not_there_says_so_and_ends_with_127(pipe: tuple[int, int]) -> None:
    read, write = pipe
    child = spawn(["/usr/bin/no-such-program"], env={}, stderr=write)
    with trio.fail_after(20):
        assert exited(127, Cause.FAILED) == await child.wait()
        assert b"/usr/bin/no-such-program: No such file or directory\n" == await line(read)


def test_a_directory_that_is_not_there_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        spawn(["/bin/true"], cwd="/nonexistent")


async def test_what_the_child_left_running_ends_with_it(mark: str) -> None:
    child = shell("setsid sleep 600 & nohup sleep 601 >/dev/null 2>&1 & exit 3", mark)
    with trio.fail_after(20):
        assert exited(3, Cause.FAILED) == await child.wait()
    assert [] == marked(mark)


async def test_a_child_that_obeys_ends_as_it_wants(mark: str, pipe: tuple[int, int]) -> None:
    read, write = pipe
    script = "trap 'sleep 0.2; exit 7' INT; echo ready; while :; do sleep 0.05; done"
    child = shell(script, mark, stdout=write)
    with trio.fail_after(20):
        await line(read)
        assert exited(7, Cause.STOPPED) == await child.stop(600.0, signal.SIGINT)


async def test_a_tree_that_does_not_want_to_end_is_killed_after_the_grace(
    mark: str, pipe: tuple[int, int]
) -> None:
    read, write = pipe
    child = shell(STUBBORN, mark, stdout=write)
    with trio.fail_after(20):
        await line(read)
        begun = trio.current_time()
        assert exited(-9, Cause.STOPPED) == await child.stop(0.3)
        assert trio.current_time() - begun >= 0.29
    assert [] == marked(mark)


async def test_a_stop_that_is_cancelled_kills_at_once(mark: str, pipe: tuple[int, int]) -> None:
    read, write = pipe
    child = shell(STUBBORN, mark, stdout=write)
    with trio.fail_after(20):
        await line(read)
        with trio.move_on_after(0.1):
            await child.stop(600.0)
        assert exited(-9, Cause.STOPPED) == await child.wait()
    assert [] == marked(mark)


async def test_stopping_what_has_ended_gives_its_exit_again(mark: str) -> None:
    child = shell("exit 4", mark)
    with trio.fail_after(20):
        await child.wait()
        assert exited(4, Cause.FAILED) == await child.stop(600.0)
    child.kill()
    assert exited(4, Cause.FAILED) == child.exit


async def test_the_child_reads_nothing_and_is_in_a_group_of_its_own(pipe: tuple[int, int]) -> None:
    read, write = pipe
    code = "import os; os.write(1, b'%r %r' % (os.read(0, 1), os.getpid() == os.getpgrp()))"
    child = spawn([sys.executable, "-c", code], stdout=write)
    with trio.fail_after(20):
        assert b"b'' True" == await line(read)
        await child.wait()


CORE = """
import os, sys, time
from supervisor import spawn
child = spawn(["/bin/sh", "-c", sys.argv[1]])
time.sleep(600)
"""


def test_a_core_that_is_killed_leaves_nothing(mark: str, tmp_path: Path) -> None:
    name, _, value = mark.partition("=")
    core = subprocess.Popen(
        [sys.executable, "-c", CORE, STUBBORN],
        env={**os.environ, name: value},
        stdout=subprocess.PIPE,
    )
    assert core.stdout is not None
    assert b"ready\n" == core.stdout.readline()
    assert 5 < len(marked(mark))
    core.kill()
    core.wait(10)
    core.stdout.close()
    deadline = time.monotonic() + 5
    while left := marked(mark):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
