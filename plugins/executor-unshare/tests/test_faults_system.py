"""Each system call of a start refused in turn: no process, or the designed way around it."""

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

# Calls of which the first refusal must end the start. N+ counts per process.
# A refused mount() says that no sandbox works here; the others that this one start failed.
FATAL = [
    "mkdirat",
    "fchown",
    "fchmod",
    "pipe2",
    "prctl",
    "setsid",
    "close_range",
    "mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "open_tree",
    "mount_setattr",
    "move_mount",
    "symlinkat",
    "umount2",
    "setgroups",
    "setresgid",
    "setresuid",
    "capset",
    "prlimit64",
    "dup2",
    "chdir",
    "execve",
]
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


@pytest.mark.parametrize("call", FATAL)
async def test_a_refused_call_ends_the_start_and_leaves_nothing(
    node: Node, executor: UnshareExecutor, job: Callable[..., Job], inject: Inject, call: str
) -> None:
    await inject(call, "EPERM")
    with pytest.raises(SupervisorError) as caught:
        await executor.start(job("/usr/bin/true"))
    expected = "sandbox-unavailable" if call == "mount" else "sandbox-failed"
    assert expected == caught.value.code
    assert "the step '" in caught.value.message
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
    assert [2] == [len(pids) for pids in groups if init in pids]
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
