"""Sandboxes that are made ahead: used once, blind to every job, and never left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job, Limits

pytestmark = pytest.mark.system

Node = Any
SECRET = "a-secret-of-one-job-8d1f"


def children(node: Node, name: str) -> list[int]:
    """The helper's children with a name."""
    helper = node.process.pid
    with open(f"/proc/{helper}/task/{helper}/children", encoding="ascii") as file:
        return [pid for pid in map(int, file.read().split()) if _name(pid) == name]


def _name(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def exist(pids: list[int]) -> bool:
    """Whether any of these processes is there, or has not been waited for."""
    return any(os.path.exists(f"/proc/{pid}") for pid in pids)


async def waiting(node: Node, count: int = 2) -> list[int]:
    """Wait until so many sandboxes wait for a job; give their pids."""
    with trio.fail_after(10):
        while len(found := children(node, "content-next")) < count:  # noqa: ASYNC110
            await trio.sleep(0.01)
    return found


async def gone(pids: list[int]) -> None:
    """Wait until these processes are gone and waited for."""
    with trio.fail_after(10):
        while exist(pids):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def finished(executor: UnshareExecutor, job: Job) -> int:
    """Run a job to its end; give the pid of its init."""
    receipt = await executor.start(job)
    seen = [one async for one in executor.watch(receipt)]
    assert Exit(code=0, cause=Cause.FINISHED) == seen[-1]
    return int(str(receipt.data["pid"]))


def memory(pid: int) -> bytes:
    """All that a process can write to."""
    found = b""
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as file:
        for line in maps:
            where, flags, *_ = line.split()
            first, last = (int(number, 16) for number in where.split("-"))
            if flags.startswith("rw"):
                file.seek(first)
                found += file.read(last - first)
    return found


@pytest.fixture
async def warm(
    node: Node, executor: UnshareExecutor, shell_job: Callable[..., Job]
) -> UnshareExecutor:
    """An executor whose helper has started something, and is ready for more."""
    await finished(executor, shell_job("true"))
    await waiting(node)
    return executor


@pytest.mark.parametrize("limits", [Limits(), Limits(tmp=1 << 20)])
async def test_a_start_takes_one_that_waits_and_it_is_used_once(
    node: Node, warm: UnshareExecutor, shell_job: Callable[..., Job], limits: Limits
) -> None:
    used: list[int] = []
    ahead = 0
    while ahead < 3:
        ready = await waiting(node)
        used.append(await finished(warm, shell_job("true", limits=limits)))
        ahead += used[-1] in ready  # not where something was mounted on the machine meanwhile
        assert len(used) < 20
    assert len(used) == len(set(used))


async def test_nothing_of_a_job_is_in_the_memory_that_the_next_ones_come_from(
    node: Node, warm: UnshareExecutor, shell_job: Callable[..., Job]
) -> None:
    receipt = await warm.start(shell_job("exec sleep 600", env={"TOKEN": SECRET}))
    assert SECRET.encode() in memory(int(str(receipt.data["pid"])))  # else the look is blind
    for pid in [*children(node, "content-zygote"), *await waiting(node)]:
        assert SECRET.encode() not in memory(pid)
        with open(f"/proc/{pid}/environ", "rb") as file:  # noqa: ASYNC230
            assert b"" == file.read()
    await warm.stop(receipt, 0)


async def test_those_that_wait_are_cut_off_already(node: Node, warm: UnshareExecutor) -> None:
    for pid in await waiting(node):
        for space in ("mnt", "pid", "ipc", "uts"):
            own, ours = (os.readlink(f"/proc/{who}/ns/{space}") for who in (pid, "self"))
            assert own != ours
        with open(f"/proc/{pid}/mountinfo", encoding="utf-8") as file:  # noqa: ASYNC230
            assert node.root not in file.read()


@pytest.mark.parametrize("name", ["content-next", "content-zygote"])
async def test_killed_ones_are_made_anew(
    node: Node, warm: UnshareExecutor, shell_job: Callable[..., Job], name: str
) -> None:
    killed = children(node, name)
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    if name == "content-next":  # one that dies in the moment in which it is taken fails the start
        await gone(killed)
    await finished(warm, shell_job("true"))
    await finished(warm, shell_job("true"))
    await gone(killed)
    assert not set(killed) & set(await waiting(node))
    node.wait_for_nothing()


async def test_a_change_of_the_host_makes_them_anew(
    node: Node, warm: UnshareExecutor, shell_job: Callable[..., Job]
) -> None:
    before = await waiting(node)
    os.utime("/etc")  # as a file that is added there does
    assert await finished(warm, shell_job("true")) not in before
    await gone(before)


async def test_a_renewed_helper_has_new_ones_and_leaves_no_group(
    node: Node, warm: UnshareExecutor, shell_job: Callable[..., Job]
) -> None:
    before = [*await waiting(node), *children(node, "content-zygote")]
    message = await trio.to_thread.run_sync(node.renew)
    assert "ready" == message["type"]
    assert not exist(before)
    assert [] == node.all_groups()
    await finished(warm, shell_job("true"))
    assert not set(before) & set(await waiting(node))


@pytest.mark.parametrize("how", ["kill", "hang_up"])
async def test_they_end_with_the_helper(node: Node, warm: UnshareExecutor, how: str) -> None:
    before = [*await waiting(node), *children(node, "content-zygote")]
    await trio.to_thread.run_sync(getattr(node, how))
    until = time.monotonic() + 2
    while left := [pid for pid in before if _name(pid)]:
        assert time.monotonic() < until, left
        await trio.sleep(0.01)
    if how == "hang_up":
        assert [] == node.all_groups()
