"""What a host or container refuses to every start: a way around it, or what to change."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job, SupervisorError

pytestmark = pytest.mark.system

Node = Any
Inject = Callable[..., Any]

WAY_AROUND = ["pivot_root", "mknodat"]


@pytest.fixture
def inject(node: Node) -> Iterator[Inject]:
    """Let every call of one name in the helper and its children fail."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    tracers = []

    async def start(call: str, error: str) -> None:
        command = ["strace", "-f", "-o", "/dev/null", "-p", str(node.process.pid)]
        command += ["-e", f"trace={call}", "-e", f"inject={call}:error={error}"]
        tracer = subprocess.Popen(command, stderr=subprocess.PIPE)  # noqa: ASYNC220
        tracers.append(tracer)
        assert tracer.stderr is not None
        line = await trio.to_thread.run_sync(tracer.stderr.readline)
        assert b"attached" in line, line

    yield start
    for tracer in tracers:
        tracer.terminate()
        tracer.wait(10)


async def test_a_host_without_mounts_says_that_no_sandbox_works(
    node: Node, executor: UnshareExecutor, job: Callable[..., Job], inject: Inject
) -> None:
    await inject("mount", "EPERM")
    with pytest.raises(SupervisorError, match="the step 'mounts' failed") as caught:
        await executor.start(job("/usr/bin/true"))
    assert "sandbox-unavailable" == caught.value.code
    assert [] == node.leftovers()
    assert [] == await executor.list()


@pytest.mark.parametrize("call", WAY_AROUND)
async def test_what_containers_refuse_has_a_way_around(
    node: Node, executor: UnshareExecutor, shell_job: Callable[..., Job], inject: Inject, call: str
) -> None:
    await inject(call, "EPERM")
    script = "test ! -e /root && echo x > /dev/null && ! ls /proc/1/root"
    receipt = await executor.start(shell_job(script))
    seen = [seen async for seen in executor.watch(receipt)]
    assert Exit(code=0, cause=Cause.FINISHED) == seen[-1]
    assert [] == node.leftovers()


async def test_where_clone3_is_filtered_the_group_is_joined_later(
    node: Node, executor: UnshareExecutor, shell_job: Callable[..., Job], inject: Inject
) -> None:
    await inject("clone3", "ENOSYS")
    receipt = await executor.start(shell_job("exec sleep 600"))
    init = str(receipt.data["pid"])
    groups = []
    for group in node.groups():
        with open(f"{group}/cgroup.procs", encoding="ascii") as file:  # noqa: ASYNC230
            groups.append(file.read().split())
    counts = [len(pids) for pids in groups if init in pids]
    assert counts
    assert {2} == set(counts)  # in each group of its own: init and the program
    await executor.stop(receipt, 0)
    node.wait_for_nothing()  # the next one is still joining, perhaps


async def test_a_host_without_namespaces_says_what_to_change(
    node: Node, executor: UnshareExecutor, job: Callable[..., Job], inject: Inject
) -> None:
    await inject("clone,clone3", "EPERM")
    with pytest.raises(SupervisorError, match="CAP_SYS_ADMIN") as caught:
        await executor.start(job("/usr/bin/true"))
    assert "sandbox-unavailable" == caught.value.code
    findings = {finding.name: finding for finding in await executor.check()}
    assert findings["sandbox"].fatal
    assert [] == node.leftovers()
