"""The landlock tier: a run reaches its own places alone, and ends with all that came of it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor
from supervisor_unshare.linux import landlock
from supervisor_unshare.tiers.choice import LEAST_LANDLOCK

from supervisor import (
    Access,
    Cause,
    Exit,
    Job,
    Mount,
    PlaceKind,
    PlaceRef,
    Role,
    Running,
    SupervisorError,
    layout,
)

pytestmark = pytest.mark.system
AT = layout.at(Role.SOURCE)
APP = {"source/": PlaceRef(kind=PlaceKind.DEPLOYMENT, ids=(1, 1))}
ESCAPING = """
(setsid sh -c 'trap "" TERM INT; while :; do sleep 1; done' &)
setsid nohup sh -c '(sleep 300 &) ; sleep 300' >/dev/null 2>&1 &
echo started
sleep 300
"""


@pytest.fixture
def node(new_node: Callable[..., Any], caller: int) -> Any:
    if landlock.version() < LEAST_LANDLOCK:
        pytest.skip("not on this kernel: Landlock")
    return new_node(caller=caller, settings={"tier": "landlock"})


@pytest.fixture
def job(job: Callable[..., Job]) -> Callable[..., Job]:
    return partial(job, uid=0)


@pytest.fixture
async def executor(node: Any, nursery: trio.Nursery) -> AsyncIterator[UnshareExecutor]:
    made = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(made.serve)
    with trio.fail_after(30):
        yield made


async def said(executor: UnshareExecutor, job: Job) -> tuple[str, Exit]:
    """Run a job to its end; give what it wrote and how it ended."""
    receipt = await executor.start(job)
    output = b"".join([chunk.data async for chunk in executor.output(receipt)])
    *_, end = [seen async for seen in executor.watch(receipt)]
    assert isinstance(end, Exit)
    return output.decode(), end


def of(uid: int) -> list[int]:
    """The pids of a uid that have not ended, whatever their parents, but for ours."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            status = Path(f"/proc/{name}/status").read_text()
        except OSError:
            continue
        if int(status.split("Uid:")[1].split()[0]) == uid and "State:\tZ" not in status:
            found.append(int(name))
    return found


async def test_a_run_sees_its_places_by_physical_paths_and_no_others(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    script = f"""
        pwd; echo $HOME; echo "$1"; echo x > {AT}/made && cat made; touch $HOME/h && echo home
        ls {node.data_dir} 2>&1; cat {node.data_dir}/db/secret 2>&1; ls / 2>&1; ls /sys 2>&1
    """
    _write(f"{node.data_dir}/db", "secret")
    output, end = await said(
        executor,
        job(
            "/bin/sh", "-c", script, "sh", f"--app={AT}/app.R",
            mounts=[Mount(role=Role.SOURCE, access=Access.WRITE, at=AT)],
            places=APP, workdir=AT, env={"HOME": "/home"},
        ),
    )  # fmt: skip
    app = f"{node.data_dir}/apps/1/1"
    lines = output.splitlines()
    assert [app, lines[1], f"--app={app}/app.R", "x", "home"] == lines[:5]
    assert lines[1].startswith(f"{node.data_dir}/tmp/")
    assert 4 == sum("Permission denied" in line for line in lines[5:]), output
    assert "known to nobody" not in output
    assert Cause.FAILED is end.cause


async def test_a_stopped_run_leaves_no_process_whatever_its_children_did(
    node: Any, executor: UnshareExecutor, shell_job: Callable[..., Job], caller: int
) -> None:
    before = set(of(caller))
    receipt = await executor.start(shell_job(ESCAPING))
    async for chunk in executor.output(receipt):
        assert b"started" in chunk.data
        break
    await executor.stop(receipt, 0)
    assert set(of(caller)) <= before | {pid for pid in of(caller) if _is(pid, "content-zygote")}
    assert [] == node.directories()


async def test_a_process_that_ends_takes_what_it_started_along(
    executor: UnshareExecutor, shell_job: Callable[..., Job], caller: int
) -> None:
    _, end = await said(executor, shell_job("(setsid sleep 300 >/dev/null 2>&1 &); exit 3"))
    assert 3 == end.code
    assert [] == [pid for pid in of(caller) if _is(pid, "sleep")]


@pytest.mark.parametrize("how", ["helper", "init"])
async def test_no_process_is_left_when_helper_or_init_is_killed(
    how: str, node: Any, executor: UnshareExecutor, shell_job: Callable[..., Job], caller: int
) -> None:
    receipt = await executor.start(shell_job(ESCAPING))
    async for _ in executor.output(receipt):
        break
    if how == "helper":
        node.kill()
    else:
        os.kill(int(str(receipt.data["pid"])), signal.SIGKILL)
        *_, end = [seen async for seen in executor.watch(receipt)]
        assert isinstance(end, Exit)
        assert signal.SIGKILL == end.signal
    until = time.monotonic() + 1.0
    while left := [pid for pid in of(caller) if _is(pid, "sleep") or _is(pid, "sh")]:
        assert time.monotonic() < until, left
        await trio.sleep(0.01)


async def test_content_cannot_reach_the_links_or_the_processes_of_the_server(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    program = f"""
import os, resource, socket
def tried(name, what, *arguments):
    try:
        what(*arguments)
    except OSError as error:
        print(name, error.strerror)
    else:
        print(name, "allowed")
tried("link", socket.socket, socket.AF_UNIX, socket.SOCK_SEQPACKET)
stream = socket.socket(socket.AF_UNIX)
tried("stream", stream.connect, {node.run_dir!r} + "/helper.sock")
for name, pid in (("helper", {node.process.pid}), ("init", os.getppid())):
    tried(f"signal {{name}}", os.kill, pid, 0)
    tried(f"environ {{name}}", open, f"/proc/{{pid}}/environ")
    tried(f"fd {{name}}", open, f"/proc/{{pid}}/fd/0")
    tried(f"limits {{name}}", resource.prlimit, pid, resource.RLIMIT_NOFILE, (0, 0))
"""
    output, _ = await said(executor, job("/usr/bin/python3", "-c", program))
    assert 10 == len(output.splitlines())
    assert "allowed" not in output


async def test_a_program_that_is_not_there_fails_the_start_with_its_name(
    executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    with pytest.raises(SupervisorError) as refusal:
        await executor.start(job("/usr/bin/no-such-program"))
    assert "exec /usr/bin/no-such-program" in refusal.value.message


async def test_an_app_listens_where_the_gateway_connects(
    node: Any, executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    program = (
        "import os, socket; s = socket.socket(socket.AF_UNIX); s.bind(os.environ['LISTEN']);"
        " s.listen(); c, _ = s.accept(); c.sendall(b'hello')"
    )
    receipt = await executor.start(
        job("/usr/bin/python3", "-c", program, env={"LISTEN": layout.LISTEN_AT})
    )
    async for seen in executor.watch(receipt):
        assert isinstance(seen, Running)
        endpoint: Any = seen.endpoint
        break
    stream = await _connected(f"{endpoint.directory}/{endpoint.name}")
    assert b"hello" == await stream.receive_some(10)
    await executor.stop(receipt, 1)


async def _connected(path: str) -> trio.SocketStream:
    while True:
        try:
            return await trio.open_unix_socket(path)
        except OSError:
            await trio.sleep(0.01)


def _write(directory: str, name: str) -> None:
    os.mkdir(directory)
    Path(directory, name).write_text("known to nobody")


def _is(pid: int, name: str) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip() == name
    except OSError:
        return False
