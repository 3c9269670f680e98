"""Networks of content: what each egress reaches, and how content on a port is reached."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Egress, InnerEndpoint, Job, Receipt, Running, SupervisorError

pytestmark = pytest.mark.system
Node = Any  # of conftest.py
InWorld = Callable[..., Awaitable[tuple[Node, UnshareExecutor]]]
WORLD = Path(__file__).with_name("world.py")

HTTP = """
import http.server
class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
http.server.HTTPServer(("127.0.0.1", {port}), Page).serve_forever()
"""


async def endpoint_of(executor: UnshareExecutor, receipt: Receipt) -> InnerEndpoint:
    async with aclosing(executor.watch(receipt)) as seen:
        running = await anext(seen)
    assert isinstance(running, Running)
    assert isinstance(running.endpoint, InnerEndpoint)
    return running.endpoint


async def connected(executor: UnshareExecutor, endpoint: InnerEndpoint) -> trio.SocketStream:
    while True:
        try:
            sock = await executor.connect(endpoint)
        except SupervisorError as error:
            if error.code != "unavailable":
                raise
            await trio.sleep(0.01)
        else:
            return trio.SocketStream(trio.socket.from_stdlib_socket(sock))


async def said(executor: UnshareExecutor, receipt: Receipt) -> str:
    chunks = [chunk.data async for chunk in executor.output(receipt)]
    return b"".join(chunks).decode()


async def test_content_on_a_port_is_reached_in_a_network_of_its_own(
    executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    """Two contents have the same port, and neither is seen on the host."""
    script = HTTP.format(port=8765)
    for content in (1, 2):
        asked = job(
            "/usr/bin/python3", "-c", script, content=content, port=8765, egress=Egress.NONE
        )
        endpoint = await endpoint_of(executor, await executor.start(asked))
        async with await connected(executor, endpoint) as stream:
            await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
            answer = b"".join([data async for data in stream])
        assert answer.endswith(b"hello")
    with socket.socket() as sock, pytest.raises(ConnectionRefusedError):
        sock.connect(("127.0.0.1", 8765))


# What a process finds of each place: what says so there, or why not.
LOOK = """
import json, socket, sys
def ask(host, port):
    try:
        with socket.create_connection((host, port), timeout=1) as sock:
            return sock.recv(99).decode() or "nothing"
    except OSError as error:
        return type(error).__name__
def unix(kind, address):
    try:
        with socket.socket(socket.AF_UNIX, kind) as sock:
            sock.connect(address)
            return "reached"
    except OSError as error:
        return type(error).__name__
print(json.dumps({
    "internet": ask("203.0.113.7", 80),
    "by name": ask("app.example.org", 80),
    "router": ask("198.51.100.1", 5432),
    "host": ask("198.51.100.2", 6000),
    "loopback": ask("127.0.0.1", 5432),
    "loopback 6": ask("::1", 5432),
    "abstract": unix(socket.SOCK_STREAM, "\\0" + sys.argv[1]),
    "helper": unix(socket.SOCK_SEQPACKET, sys.argv[2] + "/helper.sock"),
    "helper-connect": unix(socket.SOCK_SEQPACKET, sys.argv[2] + "/helper-connect.sock"),
    "core": unix(socket.SOCK_STREAM, sys.argv[2] + "/core.sock"),
    "neighbour": unix(socket.SOCK_STREAM, sys.argv[2] + "/w/other/app.sock"),
}))
"""


@pytest.fixture
def in_world(
    new_node: Callable[..., Node],
    new_ranger: Callable[..., Node],
    executor_of: Callable[[Node], UnshareExecutor],
    nursery: trio.Nursery,
) -> InWorld:
    """Give a function that starts a helper in a small world (world.py)."""

    async def start(*, tier: str = "", **fields: Any) -> tuple[Node, UnshareExecutor]:
        for program in ("unshare", "ip", "nsenter", "pasta"):
            if shutil.which(program) is None:
                pytest.skip(f"not installed: {program}")
        caller = fields.get("caller")
        as_whom = () if caller is None else ("--as", str(caller))
        world = ("unshare", "-n", "-m", sys.executable, str(WORLD))
        if tier == "subuid":
            node = new_ranger(within=(*world, "--for-all"))
        else:
            node = new_node(within=(*world, *as_whom), **fields)
        executor = executor_of(node)
        await nursery.start(executor.serve)
        return node, executor

    return start


async def found_by(
    node: Node, executor: UnshareExecutor, job: Callable[..., Job], egress: Egress, **fields: Any
) -> dict[str, str]:
    """What a process finds; whatever its egress, no socket of ours is among it."""
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"test-{os.urandom(6).hex()}"
        listener.bind(f"\0{name}")
        listener.listen()
        asked = job("/usr/bin/python3", "-c", LOOK, name, node.run_dir, egress=egress, **fields)
        text = await said(executor, await executor.start(asked))
    answers: dict[str, str] = json.loads(text)
    ours = {answers.pop(name) for name in ("helper", "helper-connect", "core", "neighbour")}
    assert {"FileNotFoundError"} == ours
    return answers


NOWHERE = {
    "internet": "OSError", "by name": "gaierror", "router": "OSError", "host": "OSError",
    "loopback": "ConnectionRefusedError", "loopback 6": "ConnectionRefusedError",
    "abstract": "ConnectionRefusedError",
}  # fmt: skip


REFUSED = "ConnectionRefusedError"


async def test_each_egress_reaches_what_it_says(in_world: InWorld, job: Callable[..., Job]) -> None:
    node, executor = await in_world(settings={"loopback_ports": [7000]})
    with trio.fail_after(60):
        assert NOWHERE == await found_by(node, executor, job, Egress.NONE)
        user = await found_by(node, executor, job, Egress.USER)
        assert ("internet", "internet") == (user["internet"], user["by name"]), (user, node.log)
        assert user["router"] in (REFUSED, "TimeoutError")
        assert {REFUSED} == {user[of] for of in ("host", "loopback", "loopback 6", "abstract")}
        host = await found_by(node, executor, job, Egress.HOST)
        assert ("internet", "everywhere", "loopback") == (
            host["by name"], host["host"], host["loopback"],
        )  # fmt: skip
        assert host["abstract"] in ("PermissionError", REFUSED)
    node.wait_for_nothing(10)


async def test_a_named_port_of_the_hosts_loopback_is_open_to_egress_user(
    in_world: InWorld, job: Callable[..., Job]
) -> None:
    node, executor = await in_world(settings={"loopback_ports": [5432]})
    with trio.fail_after(60):
        found = await found_by(node, executor, job, Egress.USER)
        assert ("internet", "loopback") == (found["internet"], found["loopback"])


async def test_without_root_egress_user_reaches_the_same(
    in_world: InWorld, job: Callable[..., Job], caller: int
) -> None:
    node, executor = await in_world(caller=caller)
    with trio.fail_after(60):
        found = await found_by(node, executor, job, Egress.USER, uid=0)
        assert ("internet", "internet") == (found["internet"], found["by name"]), (found, node.log)
        assert {REFUSED} == {found[of] for of in ("host", "loopback", "loopback 6", "abstract")}
        assert NOWHERE == await found_by(node, executor, job, Egress.NONE, uid=0)
    node.wait_for_nothing(10)


async def test_with_a_range_of_uids_it_does_too_and_pasta_is_no_content(
    in_world: InWorld, job: Callable[..., Job], range_first: int
) -> None:
    node, executor = await in_world(tier="subuid")
    with trio.fail_after(60):
        found = await found_by(node, executor, job, Egress.USER, uid=0)
        assert ("internet", "internet") == (found["internet"], found["by name"]), (found, node.log)
        assert {REFUSED} == {found[of] for of in ("host", "loopback", "loopback 6", "abstract")}
        assert NOWHERE == await found_by(node, executor, job, Egress.NONE, uid=0)
        receipt = await executor.start(job("/usr/bin/sleep", "60", uid=0, egress=Egress.USER))
        (pasta,) = (pid for pid in node.processes() if b"pasta" in command_of(pid))
        assert range_first + 65_535 == uid_of(pasta)
        await executor.stop(receipt, 0.0)
    node.wait_for_nothing(10)


async def test_pasta_looks_into_no_other_process_for_its_namespaces(
    in_world: InWorld, job: Callable[..., Job]
) -> None:
    """As the AppArmor profile of Debian 12 forbids; with AppArmor every test here holds it."""
    node, executor = await in_world()
    with trio.fail_after(60):
        receipt = await executor.start(job("/usr/bin/sleep", "60", egress=Egress.USER))
        (pasta,) = (pid for pid in node.processes() if b"pasta" in command_of(pid))
        named = re.findall(rb"/proc/(\w+)/", command_of(pasta))
        await executor.stop(receipt, 0.0)
    assert [b"self", b"self"] == named
    node.wait_for_nothing(10)


@pytest.mark.parametrize("renewed", [False, True])
async def test_the_end_of_pasta_is_told_and_the_content_stays(
    in_world: InWorld, job: Callable[..., Job], renewed: bool
) -> None:
    node, executor = await in_world()
    with trio.fail_after(60):
        receipt = await executor.start(job("/usr/bin/sleep", "60", egress=Egress.USER))
        if renewed:
            assert "ready" == (await trio.to_thread.run_sync(node.renew))["type"]
        (pasta,) = (pid for pid in node.processes() if b"pasta" in command_of(pid))
        os.kill(pasta, signal.SIGKILL)
        seen = b""
        async with aclosing(executor.output(receipt)) as chunks:
            async for chunk in chunks:
                seen += chunk.data
                if b"reaches no network any more" in seen:
                    break
        assert "network-gone" in node.log
        assert [receipt.run] == [held.run for held in await executor.list()]
        await executor.stop(receipt, 0.0)
    node.wait_for_nothing(10)


OWN_LOOPBACK = """
from multiprocessing import Pool
from multiprocessing.managers import BaseManager
manager = BaseManager(address=("127.0.0.1", 0), authkey=b"x")
manager.start()
with Pool(2) as pool:
    print(sum(pool.map(abs, [-1, -2])), manager.address[0])
manager.shutdown()
"""
CLUSTER = (
    "cluster <- parallel::makePSOCKcluster(2);"
    "cat(sum(unlist(parallel::parLapply(cluster, 1:2, identity))));"
    "parallel::stopCluster(cluster)"
)


async def test_the_loopback_of_its_own_carries_clusters_and_pools(
    executor: UnshareExecutor, job: Callable[..., Job]
) -> None:
    python = job("/usr/bin/python3", "-c", OWN_LOOPBACK, egress=Egress.NONE)
    assert "3 127.0.0.1" == (await said(executor, await executor.start(python))).strip()
    if shutil.which("Rscript") is None:
        pytest.skip("not installed: R")
    r = job("/usr/bin/Rscript", "--vanilla", "-e", CLUSTER, egress=Egress.NONE)
    assert "3" == (await said(executor, await executor.start(r))).strip()


async def test_pasta_ends_with_the_helper_that_is_killed(
    in_world: InWorld, job: Callable[..., Job]
) -> None:
    node, executor = await in_world()
    with trio.fail_after(60):
        await executor.start(job("/usr/bin/sleep", "60", egress=Egress.USER))
        assert any(b"pasta" in command_of(pid) for pid in node.processes())
        node.kill()
        until = trio.current_time() + 5
        while node.processes():
            assert trio.current_time() < until
            await trio.sleep(0.02)


async def test_a_device_that_is_missing_ends_the_start_and_says_so(
    new_node: Callable[..., Node], nursery: trio.Nursery, job: Callable[..., Job]
) -> None:
    if shutil.which("pasta") is None:
        pytest.skip("not installed: pasta")
    hide = "mount -t tmpfs none /dev/net; exec $0 $*"
    node = new_node(within=("unshare", "-m", "sh", "-ec", hide))
    executor = UnshareExecutor(run_dir=node.run_dir)
    await nursery.start(executor.serve)
    with pytest.raises(SupervisorError, match="/dev/net/tun") as caught:
        await executor.start(job("/usr/bin/true", egress=Egress.USER))
    assert "egress-unavailable" == caught.value.code
    node.wait_for_nothing(10)


def uid_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("Uid:")[2].split()[0])


def command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
