"""The helper process itself: its links, its end, and what it leaves behind."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Cause, Exit, Job, packets
from supervisor.site_mounts import SiteMount

pytestmark = pytest.mark.system

Jobs = Callable[..., Job]
Node = Any
STRANGER = 698_000

FAMILY = "setsid sh -c 'trap \"\" TERM; sleep 600' & nohup sleep 601 & echo ready; wait"


async def start_family(executor: UnshareExecutor, job: Job) -> Any:
    receipt = await executor.start(job)
    async for _ in executor.output(receipt):
        break
    return receipt


async def test_the_end_of_the_parent_is_the_end_of_everything(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    for content in (1, 2, 3):
        await start_family(executor, shell_job(FAMILY, content=content))
    assert 12 <= len(node.processes())
    begun = time.monotonic()
    node.hang_up()
    assert 1.0 > time.monotonic() - begun
    assert [] == node.leftovers()


async def test_the_death_of_the_helper_is_the_end_of_its_processes(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipts = [
        await start_family(executor, shell_job(FAMILY, content=content)) for content in (1, 2, 3)
    ]
    node.kill()
    begun = time.monotonic()
    while node.processes():
        assert 1.0 > time.monotonic() - begun
        await trio.sleep(0.005)
    node.start()
    assert [] == node.leftovers()  # swept by the next helper
    for receipt in receipts:
        seen = [seen async for seen in executor.watch(receipt)]
        assert Exit(cause=Cause.LOST, detail="the helper ended") == seen[-1]


async def test_a_watcher_learns_that_the_helper_was_replaced(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    receipt = await executor.start(shell_job("sleep 600"))
    seen = []

    async def watch() -> None:
        seen.extend([observation async for observation in executor.watch(receipt)])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await trio.testing.wait_all_tasks_blocked()
        node.kill()
        node.start()
    assert Exit(cause=Cause.LOST, detail="the helper ended") == seen[-1]
    assert await executor.start(shell_job("exit 0"))  # the new one serves


async def test_stop_ends_processes_in_order(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    await executor.start(shell_job("trap 'exit 0' TERM; while :; do sleep 0.05; done"))
    packets.send(node.control, {"type": "stop", "seconds": 5})
    begun = time.monotonic()
    assert 0 == await trio.to_thread.run_sync(node.process.wait, 10)
    assert 2.0 > time.monotonic() - begun
    assert [] == node.leftovers()


async def test_stop_kills_what_does_not_end_in_time(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    await start_family(executor, shell_job("trap '' TERM; " + FAMILY))
    packets.send(node.control, {"type": "stop", "seconds": 1.2})
    begun = time.monotonic()
    assert 0 == await trio.to_thread.run_sync(node.process.wait, 10)
    assert 1.2 > time.monotonic() - begun
    assert [] == node.leftovers()


def connected(node: Node, name: str = "helper") -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    sock.settimeout(5)
    sock.connect(f"{node.run_dir}/{name}.sock")
    return sock


def asked(sock: socket.socket, **message: Any) -> tuple[packets.Message, list[int]]:
    packets.send(sock, {"id": 1, **message})
    packet = packets.receive(sock)
    assert packet is not None
    return packet


@pytest.mark.parametrize("number", ["x" * 65_000, [1], 2**60, True])
def test_an_id_that_is_none_is_refused_and_the_link_goes_on(node: Node, number: object) -> None:
    with connected(node) as sock:
        answer, _ = asked(sock, type="list", id=number)
        assert ("error", "bad-request", None) == tuple(map(answer.get, ("type", "code", "id")))
        assert 7 == asked(sock, type="list", id=7)[0]["id"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "exec", "argv": ["/bin/sh"]},
        {"type": "start", "job": {"run": "x"}},
        {"type": "hello", "v": 99},
        {"type": "remove", "place": {"kind": "state", "ids": [-1], "components": []}},
        {"type": "prepare", "place": {"kind": "bundle", "ids": [], "components": ["0" * 64]},
         "content": 1, "uid": 700_001},
        {"type": "output", "run": "01k00000000000000000000000"},
    ],
)  # fmt: skip
def test_a_message_that_is_refused_gets_its_reason(node: Node, message: dict[str, Any]) -> None:
    with connected(node) as sock:
        answer, _ = asked(sock, **message)
        assert ("error", 1) == (answer["type"], answer["id"])
        assert answer["code"] in ("bad-request", "job-refused", "not-found")
        assert "ok" == asked(sock, type="list")[0]["type"]  # and the link goes on


def test_what_is_no_message_closes_the_link_only(node: Node) -> None:
    with connected(node) as sock:
        sock.send(b"\xff not json")
        assert b"" == sock.recv(100)
    with connected(node) as sock:
        assert [] == asked(sock, type="list")[0]["runs"]


def test_a_newer_core_replaces_the_older_one(node: Node) -> None:
    with connected(node) as old, connected(node) as new:
        assert "ok" == asked(new, type="hello", v=1)[0]["type"]
        assert b"" == old.recv(100)


def test_a_peer_that_does_not_read_is_not_read_either(node: Node) -> None:
    sent = 0
    with connected(node) as sock:
        sock.settimeout(0.3)
        with contextlib.suppress(TimeoutError):
            while sent < 5000:
                packets.send(sock, {"type": "list", "id": sent})
                sent += 1
        assert 64 < sent < 5000  # what the queues of the kernel hold, and ours
        sock.settimeout(5)
        for number in range(sent):
            packet = packets.receive(sock)
            assert packet is not None
            assert number == packet[0]["id"]


def test_the_oldest_of_many_gateways_is_let_go(node: Node) -> None:
    def connect_often() -> None:
        socks = [connected(node, "helper-connect") for _ in range(5)]
        assert "error" == asked(socks[-1], type="connect", run="x")[0]["type"]
        assert b"" == socks[0].recv(100)
        for sock in socks[1:]:
            assert "error" == asked(sock, type="connect", run="x")[0]["type"]

    assert as_user(699_001, connect_often)


def as_user(uid: int, action: Callable[[], None]) -> bool:
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
            action()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(pid, 0)[1] == 0


def test_a_peer_with_another_uid_is_not_served(node: Node) -> None:
    def listed() -> None:
        with connected(node) as sock:
            asked(sock, type="list")

    assert not as_user(STRANGER, listed)


LISTEN = """
import os, socket, time
os.umask(0o777 if ODD else 0o027)
s = socket.socket(socket.AF_UNIX); s.bind("/opt/content-supervisor/mnt/socket/app.sock"); s.listen()
print("ready", flush=True)
c, _ = s.accept(); c.sendall(b"hello"); time.sleep(600)
"""


async def test_the_gateway_gets_a_connected_socket(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    listening = job("/usr/bin/python3", "-c", "ODD = True\n" + LISTEN)
    await start_family(executor, listening)

    def visit() -> None:
        with connected(node, "helper-connect") as sock:
            assert ("ok", 1) == tuple(map(asked(sock, type="hello", v=1)[0].get, ("type", "v")))
            assert "error" == asked(sock, type="hello", v=99)[0]["type"]
            answer, fds = asked(sock, type="connect", run=listening.run)
            assert "ok" == answer["type"]
            with socket.socket(fileno=fds[0]) as stream:
                stream.settimeout(5)
                assert b"hello" == stream.recv(100)
            assert "error" == asked(sock, type="list")[0]["type"]

    assert as_user(699_001, visit)
    assert not as_user(STRANGER, visit)


async def test_a_link_in_the_place_of_a_socket_is_refused(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    swapped = shell_job(
        "ln -s /run/other.sock /opt/content-supervisor/mnt/socket/app.sock; echo ready; sleep 600"
    )
    await start_family(executor, swapped)

    def visit() -> None:
        with connected(node, "helper-connect") as sock:
            assert "socket-swapped" == asked(sock, type="connect", run=swapped.run)[0]["code"]

    assert as_user(699_001, visit)


async def test_the_socket_directory_is_for_its_content_and_the_gateway(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    job = shell_job("sleep 600")
    await executor.start(job)
    found = os.stat(f"{node.run_dir}/w/{job.run}")
    assert (job.uid, 699_001, 0o2710) == (found.st_uid, found.st_gid, found.st_mode & 0o7777)


async def test_a_long_list_travels_beside_the_packet(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    jobs = [shell_job("exit 0") for _ in range(150)]
    async with trio.open_nursery() as nursery:
        for made in jobs:
            nursery.start_soon(executor.start, made)
    assert {made.run for made in jobs} == {receipt.run for receipt in await executor.list()}


def test_the_helper_loads_the_standard_library_only() -> None:
    program = (
        "import sys; before = set(sys.modules)\n"
        "import supervisor_unshare.launcher\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "own = {'supervisor', 'supervisor_unshare'}\n"
        "print(sorted(names - own - sys.stdlib_module_names))"
    )
    command = [sys.executable, "-I", "-c", program]
    assert "[]\n" == subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_the_helper_has_one_thread(node: Node) -> None:
    with open(f"/proc/{node.process.pid}/status", encoding="utf-8") as file:
        assert "Threads:\t1\n" in file.read()


async def test_without_root_content_runs_as_the_caller(
    new_node: Callable[..., Node], shell_job: Jobs, nursery: trio.Nursery, caller: int
) -> None:
    node = new_node(caller=caller)
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    assert "rootless" == executor.capabilities.tier
    job = shell_job("id -u; ls -d /root /proc/1; echo x > /tmp/x; sleep 600 & exit 6", uid=0)
    receipt = await executor.start(job)
    output = [chunk async for chunk in executor.output(receipt)]
    printed = b"".join(chunk.data for chunk in output if chunk.stream == "stdout")
    assert f"{caller}\n/proc/1\n".encode() == printed
    seen = [seen async for seen in executor.watch(receipt)]
    assert 6 == seen[-1].code  # type: ignore[union-attr]
    assert [] == node.leftovers()


async def test_without_root_nothing_outlives_the_helper_either(
    new_node: Callable[..., Node], shell_job: Jobs, nursery: trio.Nursery, caller: int
) -> None:
    node = new_node(caller=caller)
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    await start_family(executor, shell_job(FAMILY, uid=0))
    assert 4 <= len(node.processes())
    node.kill()
    begun = time.monotonic()
    while node.processes():
        assert 1.0 > time.monotonic() - begun
        await trio.sleep(0.005)


def test_settings_that_would_show_the_data_are_refused_with_the_reason(
    new_node: Callable[..., Node],
) -> None:
    path = tempfile.gettempdir()
    with pytest.raises(AssertionError, match="lies in it"):
        new_node(settings={"mounts": [SiteMount(name="all", path=path, at="/srv/all")]})


async def test_the_helper_keeps_nothing_of_runs_that_are_over(
    node: Node, shell_job: Jobs, nursery: trio.Nursery
) -> None:
    executor = UnshareExecutor(run_dir=node.run_dir, forget_after=0.01)
    await nursery.start(executor.serve)

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{node.process.pid}/fd"))

    async def live(job: Job) -> None:
        receipt = await executor.start(job)
        async for _ in executor.output(receipt):
            pass
        async for _ in executor.watch(receipt):
            pass

    async def all_forgotten() -> None:
        with trio.fail_after(10):
            while await executor.list():  # noqa: ASYNC110
                await trio.sleep(0.01)

    await live(shell_job("echo x"))  # the first one builds the template, which is kept
    await all_forgotten()
    before = descriptors()
    async with trio.open_nursery() as inner:
        for _ in range(40):
            inner.start_soon(live, shell_job("echo x"))
    await all_forgotten()
    assert before == descriptors()


async def test_what_a_helper_left_is_swept_by_the_next_also_where_it_is_much(
    node: Node, executor: UnshareExecutor, job: Jobs
) -> None:
    fill = "import os, time\nfor i in range(300): os.makedirs(f'/tmp/{i}/x')\n"
    await start_family(
        executor, job("/usr/bin/python3", "-c", fill + "print(1, flush=True); time.sleep(600)")
    )
    node.kill()
    node.start()
    with trio.fail_after(10):
        while node.leftovers():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_the_sudden_death_of_the_parent_leaves_nothing_either(
    node: Node, executor: UnshareExecutor, shell_job: Jobs
) -> None:
    await start_family(executor, shell_job(FAMILY))
    # What the kernel sends when the parent dies; the end of its link follows.
    node.process.send_signal(signal.SIGUSR1)
    begun = time.monotonic()
    node.hang_up()
    assert (0, True) == (node.process.returncode, time.monotonic() - begun < 1.0)
    assert [] == node.leftovers()


def test_a_helper_that_hangs_while_its_parent_is_dead_ends_all_the_same(node: Node) -> None:
    node.process.send_signal(signal.SIGUSR1)  # and no end of the link
    assert -signal.SIGALRM == node.process.wait(5)
