"""Limits of a run and of all together: they hold, and whoever ended by one is told so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job, Limits, Receipt, SupervisorError

pytestmark = pytest.mark.system

Jobs = Callable[..., Job]
Node = Any
MIB = 1 << 20
PYTHON = "/usr/bin/python3"

BOMB = "import os, signal\ntry:\n  while os.fork(): pass\n  signal.pause()\nexcept BlockingIOError:"

FILL = """
import socket, time
written = sockets = 0
try:
    with open("file", "wb", 0) as file:
        while written < 1 << 20:
            written += file.write(bytes(4096))
except OSError:
    pass
try:
    while sockets < 1000:
        socket.socket(socket.AF_UNIX).bind(f"s{sockets}")
        sockets += 1
except OSError:
    pass
print(written, sockets, flush=True)
time.sleep(600)
"""


async def ended(executor: UnshareExecutor, job: Job) -> Exit:
    receipt = await executor.start(job)
    *_, last = [seen async for seen in executor.watch(receipt)]
    assert isinstance(last, Exit)
    return last


async def said(executor: UnshareExecutor, receipt: Receipt) -> str:
    """What it prints until its first line is whole."""
    text = b""
    async for chunk in executor.output(receipt):
        if chunk.stream == "stdout":
            text += chunk.data
        if b"\n" in text:
            break
    return text.decode()


def is_mounted(node: Node, receipt: Receipt) -> bool:
    """Whether the directory of its socket is a file system of its own."""
    return os.path.ismount(f"{node.run_dir}/w/{receipt.run}")


def needs(executor: UnshareExecutor, limit: str) -> None:
    if limit not in executor.capabilities.limits:
        pytest.skip(f"not on this kernel: a control group for {limit}")


async def test_memory_beyond_its_limit_ends_a_process_and_the_cause_names_the_limit(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    needs(executor, "memory_max")
    hog = job(PYTHON, "-c", "x = bytearray(300 << 20)", limits=Limits(memory_max=64 * MIB))
    detail = "the kernel killed it: memory limit, 64 MiB"
    assert Exit(signal=9, cause=Cause.MEMORY, detail=detail) == await ended(executor, hog)
    assert [] == node.leftovers()


async def test_a_child_that_runs_out_of_memory_is_counted_and_its_app_goes_on(
    executor: UnshareExecutor, shell_job: Jobs
) -> None:
    needs(executor, "memory_max")
    hog = f"{PYTHON} -c 'x = bytearray(300 << 20)'; echo $?; exec sleep 600"
    job = shell_job(hog, limits=Limits(memory_max=64 * MIB))
    receipt = await executor.start(job)
    assert "137" in await said(executor, receipt)
    used = (await executor.usage([job.run]))[job.run]
    assert (1, 1) == (used.processes, used.kills)
    assert 0 < used.memory < 64 * MIB
    await executor.stop(receipt, 0)


async def test_an_app_that_gives_up_for_want_of_memory_says_so(
    executor: UnshareExecutor, shell_job: Jobs
) -> None:
    needs(executor, "memory_max")
    hog = f"{PYTHON} -c 'x = bytearray(300 << 20)' || exit 3"
    found = await ended(executor, shell_job(hog, limits=Limits(memory_max=64 * MIB)))
    assert (Cause.MEMORY, 3) == (found.cause, found.code)
    assert "the kernel killed 1 of its processes: memory limit, 64 MiB" == found.detail


async def test_a_fork_bomb_stops_at_its_limit_and_the_cause_names_it(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    needs(executor, "pids")
    found = await ended(executor, job(PYTHON, "-c", f"{BOMB} os._exit(4)", limits=Limits(pids=20)))
    assert (Cause.LIMIT, 4) == (found.cause, found.code)
    assert "no process beyond those that it has, 20, as their limit" in found.detail
    assert [] == node.leftovers()


async def test_a_processor_hog_gets_its_share_and_no_more(
    executor: UnshareExecutor, job: Jobs
) -> None:
    needs(executor, "cpu")
    hog = (
        "import time\nbegun, end = time.process_time(), time.monotonic() + 1\n"
        "while time.monotonic() < end: pass\n"
        "print(time.process_time() - begun)"  # to start has taken some already
    )
    receipt = await executor.start(job(PYTHON, "-c", hog, limits=Limits(cpu=0.2)))
    assert 0.5 > float(await said(executor, receipt))


async def test_temporary_files_have_one_limit_wherever_they_lie(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    script = (
        "for at in /tmp /var/tmp /opt/content-supervisor/mnt/tmp /home /dev/shm; do"
        " head -c 1000000 /dev/zero > $at/a$RANDOM || exit 9; done;"
        " head -c 4000000 /dev/zero > $HOME/b; exit 5"
    )
    job = shell_job(script, limits=Limits(tmp=8 * MIB), env={"HOME": "/home"})
    assert Exit(code=5, cause=Cause.FAILED) == await ended(executor, job)
    beyond = shell_job(
        "head -c 5000000 /dev/zero > /tmp/a; head -c 5000000 /dev/zero > /dev/shm/b",
        limits=Limits(tmp=8 * MIB),
    )
    found = await ended(executor, beyond)
    assert (Cause.LIMIT, 1) == (found.cause, found.code)
    assert "its temporary files had filled all 8 MiB that they may take" == found.detail
    assert [] == node.leftovers()


async def test_the_directory_of_its_socket_cannot_fill_the_servers(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    wanted = job(PYTHON, "-c", FILL, workdir="/opt/content-supervisor/mnt/socket")
    receipt = await executor.start(wanted)
    written, sockets = map(int, (await said(executor, receipt)).split())
    assert 64 * 1024 >= written
    assert 0 < sockets < 64
    there = os.listdir(f"{node.run_dir}/w/{wanted.run}")  # the gateway sees the same
    assert sockets == sum(name.startswith("s") for name in there)
    await executor.stop(receipt, 0)
    await trio.to_thread.run_sync(node.wait_for_nothing)


async def test_sockets_that_a_killed_helper_has_left_are_swept(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job("exec sleep 600"))
    assert is_mounted(node, receipt)
    node.kill()
    node.start()
    node.wait_for_nothing()


async def test_a_helper_that_ends_leaves_no_mount(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job("exec sleep 600"))
    assert is_mounted(node, receipt)
    await trio.to_thread.run_sync(node.hang_up)
    assert [] == node.leftovers()


async def test_a_nice_content_is_nice(executor: UnshareExecutor, shell_job: Jobs) -> None:
    receipt = await executor.start(shell_job("nice", limits=Limits(nice=7)))
    assert "7\n" == await said(executor, receipt)


async def test_what_nothing_enforces_here_is_refused(
    new_node: Callable[..., Node], caller: int, nursery: trio.Nursery, shell_job: Jobs
) -> None:
    node = new_node(caller=caller)
    rootless = UnshareExecutor(run_dir=node.run_dir)
    with trio.fail_after(20):
        await nursery.start(rootless.serve)
        assert {"files", "tmp", "nice"} == rootless.capabilities.limits
        with pytest.raises(SupervisorError, match="cannot enforce memory_max") as caught:
            await rootless.start(shell_job("true", limits=Limits(memory_max=MIB), uid=0))
        assert "limit-unenforceable" == caught.value.code
        findings = {finding.name: finding for finding in await rootless.check()}
        assert (False, False) == (findings["limits"].ok, findings["totals"].ok)


async def test_temporary_files_are_limited_without_root_too(
    new_node: Callable[..., Node], caller: int, nursery: trio.Nursery, shell_job: Jobs
) -> None:
    node = new_node(caller=caller)
    rootless = UnshareExecutor(run_dir=node.run_dir)
    with trio.fail_after(20):
        await nursery.start(rootless.serve)
        job = shell_job(
            "head -c 900000 /dev/zero > /dev/shm/b && head -c 900000 /dev/zero > /home/a",
            limits=Limits(tmp=MIB),
            uid=0,
        )
        assert Cause.LIMIT == (await ended(rootless, job)).cause


TOTALS = {"total_memory": 128 * MIB, "total_pids": 60}


@pytest.fixture
async def full(new_node: Callable[..., Node], nursery: trio.Nursery) -> UnshareExecutor:
    """An executor of a server with little for all its contents together."""
    made = UnshareExecutor(run_dir=new_node(settings={"totals": TOTALS}).run_dir)
    await nursery.start(made.serve)
    return made


async def test_all_contents_together_have_a_limit_and_the_largest_is_killed(
    full: UnshareExecutor, job: Jobs, shell_job: Jobs
) -> None:
    needs(full, "memory_max")
    with trio.fail_after(20):
        small = await full.start(shell_job("exec sleep 600", content=2))
        found = await ended(full, job(PYTHON, "-c", "x = bytearray(300 << 20)"))
        assert Cause.MEMORY == found.cause
        assert "memory limit of all contents together, 128 MiB" in found.detail
        assert [small] == [one for one in await full.list() if one.run == small.run]
        await full.stop(small, 0)


async def test_all_contents_together_have_so_many_processes(
    full: UnshareExecutor, job: Jobs
) -> None:
    needs(full, "pids")
    with trio.fail_after(20):
        found = await ended(full, job(PYTHON, "-c", f"{BOMB} os._exit(4)"))
        assert (Cause.LIMIT, 4) == (found.cause, found.code)
        assert "all contents together have" in found.detail
        totals = {one.name: one.text for one in await full.check()}["totals"]
        assert "All contents together: 134 MB of memory, 60 processes." == totals


def test_the_helper_itself_is_in_none_of_these_groups(node: Node) -> None:
    with open(f"/proc/{node.process.pid}/cgroup", encoding="ascii") as file:
        assert "content-supervisor" not in file.read()


CALL = "import ctypes, os; c = ctypes.CDLL(None, use_errno=True)\n"


async def test_a_refused_system_call_is_named_when_the_process_fails(
    executor: UnshareExecutor, job: Jobs
) -> None:
    script = CALL + "c.unshare(0x10000000); c.mount(0, 0, 0, 0, 0)\nos._exit(ctypes.get_errno())"
    found = await ended(executor, job(PYTHON, "-c", script))
    detail = "the sandbox had refused the system calls unshare, mount"
    assert Exit(code=1, cause=Cause.FAILED, detail=detail) == found


async def test_a_refused_system_call_is_nobodys_business_when_all_ends_well(
    executor: UnshareExecutor, job: Jobs
) -> None:
    found = await ended(executor, job(PYTHON, "-c", f"{CALL}c.mount(0, 0, 0, 0, 0)"))
    assert Exit(code=0, cause=Cause.FINISHED) == found


async def test_many_threads_that_make_refused_calls_at_once_all_get_their_answer(
    executor: UnshareExecutor, job: Jobs
) -> None:
    script = (
        f"{CALL}import threading\ndef calls():\n  for _ in range(500):\n"
        "    if c.unshare(0x10000000) != -1 or ctypes.get_errno() != 1: os._exit(9)\n"
        "threads = [threading.Thread(target=calls) for _ in range(8)]\n"
        "[t.start() for t in threads]; [t.join() for t in threads]; os._exit(3)"
    )
    assert 3 == (await ended(executor, job(PYTHON, "-c", script))).code


async def test_a_call_of_another_machine_ends_the_process_and_is_told(
    executor: UnshareExecutor, shell_job: Jobs
) -> None:
    found = await ended(executor, shell_job("kill -SYS $$"))
    assert 31 == found.signal
    assert "such as a 32-bit one" in found.detail


def freeze(groups: list[str]) -> bool:
    for group in groups:
        if os.path.exists(f"{group}/cgroup.freeze"):
            with open(f"{group}/cgroup.freeze", "w", encoding="ascii") as file:
                file.write("1")
            return True
    return False


async def test_a_process_that_v2_has_frozen_is_killed_all_the_same(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job("exec sleep 600"))
    if not freeze(node.groups()):
        pytest.skip("not on this kernel: cgroup v2")
    with trio.fail_after(5):
        await executor.stop(receipt, 0.2)
    assert [] == node.leftovers()


@pytest.fixture
def freezer() -> Any:
    """A group of the v1 freezer: what is frozen in it looks as if it waited for dead storage."""
    path = f"/sys/fs/cgroup/freezer/supervisor-test-{os.getpid()}"
    try:
        os.mkdir(path)
    except OSError:
        pytest.skip("not on this kernel: the freezer of cgroup v1")
    yield path
    os.rmdir(path)


async def test_a_stop_goes_on_until_what_cannot_be_killed_is_gone(
    node: Node, executor: UnshareExecutor, shell_job: Jobs, freezer: str
) -> None:
    receipt = await executor.start(shell_job("exec sleep 600"))

    def write(name: str, text: str) -> None:
        with open(f"{freezer}/{name}", "w", encoding="ascii") as file:
            file.write(text)

    for pid in node.processes():
        write("cgroup.procs", str(pid))
    write("freezer.state", "FROZEN")
    try:
        with trio.move_on_after(0.5) as limit:
            await executor.stop(receipt, 0)
        assert limit.cancelled_caught
        assert [receipt] == await executor.list()  # and the helper answers others meanwhile
    finally:
        write("freezer.state", "THAWED")
    with trio.fail_after(5):
        await executor.stop(receipt, 0)
    node.wait_for_nothing()


def groups_with(node: Node, pid: int) -> list[Path]:
    found = map(Path, node.all_groups())
    return [one for one in found if str(pid) in (one / "cgroup.procs").read_text().split()]


@pytest.mark.parametrize("renewed", [False, True])
async def test_a_group_that_stays_busy_delays_its_end_a_little_and_goes_when_it_can(
    node: Node, executor: UnshareExecutor, shell_job: Jobs, renewed: bool
) -> None:
    receipt = await executor.start(shell_job("trap 'exit 3' TERM; while :; do sleep 0.05; done"))
    groups = groups_with(node, int(str(receipt.data["pid"])))
    if not groups:
        pytest.skip("not on this kernel: a control group")
    stranger = await trio.lowlevel.open_process(["sleep", "600"])
    try:
        for group in groups:
            (group / "cgroup.procs").write_text(str(stranger.pid))
        await executor.stop(receipt, 5.0)
        *_, last = [seen async for seen in executor.watch(receipt)]
        assert Exit(code=3, cause=Cause.STOPPED) == last
        if renewed:
            assert "ready" == (await trio.to_thread.run_sync(node.renew))["type"]
        assert groups == [group for group in groups if group.exists()]
    finally:
        stranger.kill()
        await stranger.wait()
    await trio.to_thread.run_sync(node.wait_for_nothing, 20.0)
