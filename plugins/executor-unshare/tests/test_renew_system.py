"""A helper executes itself anew: its runs do not notice, and nothing of them is forgotten."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job, Limits, Receipt, SupervisorError

pytestmark = pytest.mark.system

Node = Any
ShellJob = Callable[..., Job]


async def renew(node: Node, **fields: Any) -> str:
    answer = await trio.to_thread.run_sync(lambda: node.renew(**fields))
    return str(answer["type"])


async def exit_of(executor: UnshareExecutor, receipt: Receipt) -> object:
    return [seen async for seen in executor.watch(receipt)][-1]


async def first_chunk(executor: UnshareExecutor, receipt: Receipt) -> bytes:
    async with aclosing(executor.output(receipt)) as chunks:
        return (await anext(chunks)).data


def until_gone(node: Node) -> None:
    while node.processes():
        time.sleep(0.01)


def status_of(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


async def test_a_run_lives_on_with_its_pid_its_output_and_its_group(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob
) -> None:
    script = "trap 'echo ended; exit 7' TERM; echo begun; while :; do sleep 0.05; done"
    receipt = await executor.start(shell_job(script, limits=Limits(pids=20)))
    assert b"begun\n" == await first_chunk(executor, receipt)
    before, helper = sorted(node.processes())[0], node.process.pid
    groups = node.groups()
    assert "ready" == await renew(node)

    assert helper == node.process.pid
    assert node.process.poll() is None
    assert before == sorted(node.processes())[0]
    assert groups == node.groups()
    assert [receipt] == list(await executor.list())
    assert (await executor.usage([receipt.run]))[receipt.run].processes
    await executor.stop(receipt, 5.0)
    assert Exit(code=7, cause=Cause.STOPPED) == await exit_of(executor, receipt)
    assert b"ended\n" == await first_chunk(executor, receipt)
    assert [] == node.leftovers()


async def test_a_renewed_helper_starts_as_before_and_can_be_renewed_again(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob
) -> None:
    for _ in range(3):
        assert "ready" == await renew(node)
        receipt = await executor.start(shell_job("test ! -e /root && grep Cap /proc/self/status"))
        capabilities = (await first_chunk(executor, receipt)).decode().split()
        assert {"0000000000000000"} == set(capabilities[1::2])
        assert Exit(code=0, cause=Cause.FINISHED) == await exit_of(executor, receipt)
    assert [] == node.leftovers()


async def test_root_keeps_its_capabilities_and_stays_bounded(
    node: Node, executor: UnshareExecutor
) -> None:
    pid = node.process.pid
    before = [status_of(pid, name) for name in ("CapPrm", "CapEff", "CapBnd")]
    assert "ready" == await renew(node)

    assert before == [status_of(pid, name) for name in ("CapPrm", "CapEff", "CapBnd")]
    assert int(before[0], 16)
    assert 0 == int(before[2], 16)


async def test_who_ends_while_the_helper_executes_itself_is_told_of_all_the_same(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob, nursery: trio.Nursery
) -> None:
    receipts = [
        await executor.start(shell_job(f"sleep {0.02 * number:.2f}; exit {number}"))
        for number in range(20)
    ]
    for _ in range(3):
        assert "ready" == await renew(node)
    for number, receipt in enumerate(receipts):
        cause = Cause.FAILED if number else Cause.FINISHED
        assert Exit(code=number, cause=cause) == await exit_of(executor, receipt)
    assert [] == node.leftovers()


async def test_a_run_that_has_ended_is_listed_until_it_is_forgotten(
    node: Node, shell_job: ShellJob, nursery: trio.Nursery
) -> None:
    first = UnshareExecutor(run_dir=node.run_dir)
    with trio.fail_after(30):
        async with trio.open_nursery() as before:
            await before.start(first.serve)
            receipt = await first.start(shell_job("echo last words; exit 3"))
            await trio.to_thread.run_sync(node.wait_for_nothing)
            before.cancel_scope.cancel()
        assert "ready" == await renew(node)
        second = UnshareExecutor(run_dir=node.run_dir)
        await nursery.start(second.serve)
        assert [receipt] == list(await second.list())
        assert Exit(code=3, cause=Cause.FAILED) == await exit_of(second, receipt)
        assert b"last words\n" == await first_chunk(second, receipt)


async def test_a_run_that_was_asked_to_end_is_killed_when_its_grace_is_over(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob, nursery: trio.Nursery
) -> None:
    script = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
    receipt = await executor.start(shell_job(script))
    assert b"deaf\n" == await first_chunk(executor, receipt)
    begun = time.monotonic()
    nursery.start_soon(executor.stop, receipt, 2.0)
    await trio.sleep(0.1)
    assert "ready" == await renew(node)
    found = await exit_of(executor, receipt)

    assert isinstance(found, Exit)
    assert (Cause.STOPPED, signal.SIGKILL) == (found.cause, found.signal)
    assert 1.9 < time.monotonic() - begun < 4.0
    assert [] == node.leftovers()


async def test_starts_that_are_under_way_end_as_they_should(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob
) -> None:
    receipts: list[Receipt] = []

    async def start() -> None:
        for _ in range(15):
            receipts.append(await executor.start(shell_job("exec sleep 600")))

    async with trio.open_nursery() as both:
        both.start_soon(start)
        for _ in range(4):
            assert "ready" == await renew(node)
    assert 15 == len({receipt.data["pid"] for receipt in receipts})
    assert 15 == len(await executor.list())
    for receipt in receipts:
        await executor.stop(receipt, 0)
    assert [] == node.leftovers()


async def test_without_root_it_is_the_same(
    new_node: Callable[..., Node], caller: int, shell_job: ShellJob, nursery: trio.Nursery
) -> None:
    node = new_node(caller=caller)
    executor = UnshareExecutor(run_dir=node.run_dir)
    with trio.fail_after(30):
        await nursery.start(executor.serve)
        receipt = await executor.start(shell_job("exec sleep 600", uid=0))
        assert "ready" == await renew(node)
        assert [receipt] == list(await executor.list())
        other = await executor.start(shell_job("exit 4", uid=0))
        assert Exit(code=4, cause=Cause.FAILED) == await exit_of(executor, other)
        await executor.stop(receipt, 0)
    assert [] == node.leftovers()


async def test_new_code_that_does_not_start_is_declined_and_all_goes_on(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob
) -> None:
    receipt = await executor.start(shell_job("exec sleep 600"))
    for argv in (
        (sys.executable, "-I", "-c", "raise SystemExit('no such thing')"),
        ("/nowhere/python", "-m", "x"),
    ):
        answer = await trio.to_thread.run_sync(partial(node.renew, argv=argv))
        assert "not-renewed" == answer["type"]
        assert answer["reason"]
    assert [receipt] == list(await executor.list())
    await executor.stop(receipt, 0)


async def test_no_descriptor_leaks_into_the_helper_or_its_runs(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob
) -> None:
    held = await executor.start(shell_job("exec sleep 600"))
    assert "ready" == await renew(node)
    await executor.list()
    fds = len(os.listdir(f"/proc/{node.process.pid}/fd"))
    for _ in range(3):
        assert "ready" == await renew(node)
        await executor.list()
    assert fds == len(os.listdir(f"/proc/{node.process.pid}/fd"))
    receipt = await executor.start(shell_job("ls /proc/self/fd"))
    assert b"0\n1\n2\n3\n" == await first_chunk(executor, receipt)
    await executor.stop(held, 0)


async def test_runs_still_die_with_a_helper_that_was_renewed(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob
) -> None:
    for script in ("exec sleep 600", "trap '' TERM INT HUP; while :; do sleep 1; done"):
        await executor.start(shell_job(script))
    assert "ready" == await renew(node)
    assert node.processes()
    node.kill()
    await trio.to_thread.run_sync(until_gone, node)


async def test_an_unknown_run_is_still_unknown_afterwards(
    node: Node, executor: UnshareExecutor, shell_job: ShellJob
) -> None:
    receipt = await executor.start(shell_job("true"))
    await exit_of(executor, receipt)
    assert "ready" == await renew(node)
    with pytest.raises(SupervisorError, match="no run"):
        await executor._helper.request("output", run="0" * 26)
