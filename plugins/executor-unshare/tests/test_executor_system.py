"""The executor with a real helper: starts, ends, exits, output, what is left afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import (
    Access,
    Cause,
    Exit,
    Job,
    Limits,
    Mount,
    PlaceKind,
    PlaceRef,
    Receipt,
    Role,
    Running,
    SupervisorError,
    UnixEndpoint,
    layout,
)

pytestmark = pytest.mark.system

Jobs = Callable[..., Job]
Node = Any

STUBBORN = """
trap '' TERM
setsid sh -c 'trap "" TERM; sleep 600' &
nohup sh -c 'trap "" TERM; sleep 601' >/dev/null 2>&1 &
(sh -c '(trap "" TERM; setsid sleep 602 &)' &)
echo ready
while :; do sleep 1; done
"""


async def until_exit(executor: UnshareExecutor, receipt: Receipt) -> Exit:
    async for seen in executor.watch(receipt):
        if isinstance(seen, Exit):
            return seen
    raise AssertionError("watch ended without an exit")


async def until_line(executor: UnshareExecutor, receipt: Receipt, line: str) -> None:
    seen = b""
    async for chunk in executor.output(receipt):
        seen += chunk.data
        if line.encode() in seen.splitlines():
            return
    raise AssertionError(seen)


async def printed(executor: UnshareExecutor, job: Job) -> str:
    """Run a job to its end and give its standard output."""
    receipt = await executor.start(job)
    seen = {"stdout": b"", "stderr": b""}
    async for chunk in executor.output(receipt):
        seen[chunk.stream] += chunk.data
    assert b"" == seen["stderr"]
    await until_exit(executor, receipt)
    return seen["stdout"].decode()


async def test_a_process_starts_serves_and_ends(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    job = shell_job("sleep 600")
    receipt = await executor.start(job)
    async for seen in executor.watch(receipt):
        assert isinstance(seen, Running)
        assert receipt.data["pid"] == seen.pid
        assert (
            UnixEndpoint(directory=f"{node.run_dir}/w/{job.run}", name="app.sock", uid=job.uid)
            == seen.endpoint
        )
        break
    assert [job.run] == [found.run for found in await executor.list()]
    await executor.stop(receipt, 2.0)
    ended = await until_exit(executor, receipt)
    assert (Cause.STOPPED, signal.SIGTERM) == (ended.cause, ended.signal)
    assert [] == node.leftovers()


async def test_a_stop_sends_the_signal_of_the_plan(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    script = "trap 'exit 7' INT; echo ready; while :; do sleep 600 & wait; done"
    receipt = await executor.start(shell_job(script, stop_signal="INT"))
    async for chunk in executor.output(receipt):
        assert b"ready\n" == chunk.data
        break
    await executor.stop(receipt, 5.0)
    assert Exit(code=7, cause=Cause.STOPPED) == await until_exit(executor, receipt)
    assert [] == node.leftovers()


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("exit 0", Exit(code=0, cause=Cause.FINISHED)),
        ("exit 7", Exit(code=7, cause=Cause.FAILED)),
        ("kill -9 $$", Exit(signal=9, cause=Cause.FAILED)),
        ("kill -SEGV $$", Exit(signal=11, cause=Cause.FAILED)),
    ],
)
async def test_the_exit_is_reported_as_it_was(
    node: Node, executor: UnshareExecutor, shell_job: Jobs, script: str, expected: Exit
) -> None:
    receipt = await executor.start(shell_job(script))
    assert expected == await until_exit(executor, receipt)
    assert [] == node.leftovers()


async def test_a_killed_init_is_noticed(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job("sleep 600"))
    os.kill(int(str(receipt.data["pid"])), signal.SIGKILL)
    assert Exit(signal=9, cause=Cause.FAILED) == await until_exit(executor, receipt)
    assert [] == node.leftovers()


async def test_nothing_is_left_of_processes_that_do_not_want_to_end(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job(STUBBORN))
    await until_line(executor, receipt, "ready")
    assert 5 <= len(node.processes())
    await executor.stop(receipt, 0.3)
    ended = await until_exit(executor, receipt)
    assert (Cause.STOPPED, signal.SIGKILL) == (ended.cause, ended.signal)
    assert [] == node.leftovers()


async def test_what_the_process_left_running_ends_with_it(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job("setsid sleep 600 & nohup sleep 601 & exit 3"))
    assert 3 == (await until_exit(executor, receipt)).code
    assert [] == node.leftovers()


async def test_orphans_are_reaped(node: Node, executor: UnshareExecutor, shell_job: Jobs) -> None:
    script = (
        "for i in $(seq 50); do (setsid true &) ; done; sleep 0.3;"
        " cat /proc/[0-9]*/stat | cut -d' ' -f3 | grep -c Z; exit 0"
    )
    assert "0\n" == await printed(executor, shell_job(script))


async def test_the_same_job_twice_is_one_process(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    job = shell_job("exec sleep 600")
    receipts: list[Receipt] = []

    async def start() -> None:
        receipts.append(await executor.start(job))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(start)
    receipts.append(await executor.start(job))
    assert 1 == len({str(receipt.data) for receipt in receipts})
    assert 2 == len(node.processes())  # init and the process
    await executor.stop(receipts[0], 0)
    assert receipts[0] == await executor.start(job)  # ended, but not forgotten


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({"argv": ("/usr/bin/no-such-program",)}, "exec"),
        ({"argv": ("/usr/lib",)}, "exec"),
        ({"workdir": "/nowhere"}, "workdir"),
    ],
)
async def test_a_start_that_fails_names_its_step_and_leaves_nothing(
    node: Node, executor: UnshareExecutor, job: Jobs, change: dict[str, Any], step: str
) -> None:
    argv = change.pop("argv", ("/usr/bin/true",))
    with pytest.raises(SupervisorError, match=f"the step '{step}") as caught:
        await executor.start(job(*argv, **change))
    assert "sandbox-failed" == caught.value.code
    assert [] == node.leftovers()
    assert [] == await executor.list()


async def test_a_missing_place_fails_the_start_and_leaves_nothing(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    at = layout.at(Role.BUNDLE)
    bad = job(
        "/usr/bin/true",
        mounts=[Mount(role=Role.BUNDLE, access=Access.READ, at=at)],
        places={"bundle/": PlaceRef(kind=PlaceKind.BUNDLE, components=("0" * 64,))},
    )
    with pytest.raises(SupervisorError, match="mount /opt/content-supervisor/mnt/bundle") as caught:
        await executor.start(bad)
    assert "sandbox-failed" == caught.value.code
    assert [] == node.leftovers()


async def test_a_uid_outside_the_range_is_refused(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    with pytest.raises(SupervisorError, match="may not run as uid 0: root") as caught:
        await executor.start(job("/usr/bin/true", uid=0))
    assert "run-as-refused" == caught.value.code
    assert [] == node.leftovers()


async def test_open_files_are_limited(executor: UnshareExecutor, shell_job: Jobs) -> None:
    job = shell_job("ulimit -n; ulimit -Hn; ulimit -c", limits=Limits(files=99))
    assert "99\n99\n0\n" == await printed(executor, job)


async def test_output_survives_a_core_that_goes_away(
    node: Node, shell_job: Jobs, nursery: trio.Nursery
) -> None:
    job = shell_job("mkfifo /tmp/gate; echo before; read x < /tmp/gate; echo after; exit 5")
    async with trio.open_nursery() as first_life:
        first = UnshareExecutor(run_dir=node.run_dir)
        await first_life.start(first.serve)
        receipt = await first.start(job)
        await until_line(first, receipt, "before")
        first_life.cancel_scope.cancel()
    second = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(second.serve)
    assert [receipt] == await second.list()
    os.close(os.open(f"{node.data_dir}/tmp/{job.run}/gate", os.O_WRONLY))
    ended = await until_exit(second, receipt)
    rest = b"".join([chunk.data async for chunk in second.output(receipt)])
    assert (b"after\n", 5) == (rest, ended.code)


async def test_an_exit_waits_for_a_core_to_come_back(
    node: Node, shell_job: Jobs, nursery: trio.Nursery
) -> None:
    async with trio.open_nursery() as first_life:
        first = UnshareExecutor(run_dir=node.run_dir)
        await first_life.start(first.serve)
        receipt = await first.start(shell_job("echo last words; exit 4"))
        first_life.cancel_scope.cancel()
    await trio.sleep(0.2)
    second = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(second.serve)
    assert Exit(code=4, cause=Cause.FAILED) == await until_exit(second, receipt)
    output = b"".join([chunk.data async for chunk in second.output(receipt)])
    assert b"last words\n" == output


async def test_a_hundred_megabytes_of_output_drain(
    executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job("head -c 100000000 /dev/zero; echo end >&2"))
    sizes = {"stdout": 0, "stderr": 0}
    async for chunk in executor.output(receipt):
        sizes[chunk.stream] += len(chunk.data)
    assert {"stdout": 100_000_000, "stderr": 4} == sizes


async def test_usage_counts_the_whole_tree(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    job = shell_job("sleep 600 & setsid sleep 601 & echo ready; wait")
    receipt = await executor.start(job)
    await until_line(executor, receipt, "ready")
    used = await executor.usage([job.run])
    assert 3 == used[job.run].processes
    assert 0 < used[job.run].memory < 100 << 20
    await executor.stop(receipt, 0)
    assert {} == await executor.usage([job.run])


async def test_a_removed_place_is_gone(node: Node, executor: UnshareExecutor, job: Jobs) -> None:
    place = PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, 5))
    at = layout.at(Role.SOURCE)
    write = job(
        "/bin/sh",
        "-c",
        "mkdir -p a/b; echo x > a/b/c; ln -s /etc a/link",
        workdir=at,
        mounts=[Mount(role=Role.SOURCE, access=Access.WRITE, at=at)],
        places={"source/": place},
    )
    await until_exit(executor, await executor.start(write))
    assert ["b", "link"] == sorted(os.listdir(f"{node.data_dir}/apps/1/5/a"))
    await executor.remove(place)
    await executor.remove(place)
    assert [] == os.listdir(f"{node.data_dir}/apps/1")
    assert "passwd" in os.listdir("/etc")


async def test_doctor_says_what_the_host_allows(executor: UnshareExecutor) -> None:
    findings = {finding.name: finding for finding in await executor.check()}
    assert findings["sandbox"].ok
    layers = {"seccomp", "landlock", "egress-host", "egress-user"}
    assert {"sandbox", "limits", "totals", "python", "shown", *layers} == set(findings)


async def test_something_unknown_is_lost_and_stops_at_once(executor: UnshareExecutor) -> None:
    unknown = Receipt(
        run="01k00000000000000000000000",  # type: ignore[arg-type]
        executor="unshare",
        data={"pid": 1, "boot": "x", "started": 1},
    )
    assert Cause.LOST == (await until_exit(executor, unknown)).cause
    await executor.stop(unknown, 5)


async def until_listed(executor: UnshareExecutor, count: int) -> None:
    """Ask until the helper holds so many runs; it tells nobody when that changes."""
    with trio.fail_after(5):
        while count != len(await executor.list()):  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_a_run_is_forgotten_some_time_after_its_exit_was_taken(
    node: Node, shell_job: Jobs, nursery: trio.Nursery
) -> None:
    executor = UnshareExecutor(run_dir=node.run_dir, forget_after=0.05)
    await nursery.start(executor.serve)
    receipt = await executor.start(shell_job("exit 3"))
    ended = await until_exit(executor, receipt)
    await until_listed(executor, 0)
    assert ended == await until_exit(executor, receipt)  # this core still remembers


async def test_an_ended_run_that_nobody_watches_is_forgotten_once_it_is_stopped(
    node: Node, shell_job: Jobs, nursery: trio.Nursery
) -> None:
    executor = UnshareExecutor(run_dir=node.run_dir, forget_after=0.05)
    await nursery.start(executor.serve)
    receipt = await executor.start(shell_job("exit 3"))
    await executor.stop(receipt, 5)
    await executor.stop(receipt, 5)
    await until_listed(executor, 0)


async def test_a_cancelled_start_is_at_worst_a_stray_that_can_be_stopped(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(executor.start, shell_job("sleep 600"))
        await until_listed(executor, 1)
        nursery.cancel_scope.cancel()
    for receipt in await executor.list():
        await executor.stop(receipt, 0)
    assert [] == node.leftovers()


async def test_many_files_left_behind_are_removed_before_the_exit_is_told(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    program = "import os\nfor i in range(3000): os.makedirs(f'/tmp/{i % 50}/{i}')"
    receipt = await executor.start(job("/usr/bin/python3", "-c", program))
    assert 0 == (await until_exit(executor, receipt)).code
    assert [] == node.leftovers()


async def test_the_archives_and_unknown_libraries_are_not_removed(
    executor: UnshareExecutor,
) -> None:
    for place in (
        PlaceRef(kind=PlaceKind.BUNDLE, components=("0" * 64,)),
        PlaceRef(kind=PlaceKind.LIBRARY, components=("R",)),
    ):
        with pytest.raises(SupervisorError) as caught:
            await executor.remove(place)
        assert "job-refused" == caught.value.code
