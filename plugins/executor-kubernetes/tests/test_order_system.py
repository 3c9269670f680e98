"""What a Pod's entrance tells and is ordered: in a table of processes of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from signal import SIGKILL
from typing import Any

import attrs
import pytest
import trio
from supervisor_executor_kubernetes import order

from supervisor import Usage
from supervisor.testing import programs
from supervisor.testing.programs import Program
from tests.support.server import free_port

pytestmark = pytest.mark.system

SECRET = "a" * 64
LONG = 600.0
SOON = 10.0
# What the first process of a Pod does: nothing but reap.
REAPS = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print("here", flush=True)
signal.pause()
"""

# A child that computes and ends, and one that stays.
COMPUTES = Program(
    name="computes",
    language="python",
    text="""
import subprocess, sys, time
burns = "import time\\nwhile time.process_time() < 0.4: pass"
subprocess.run([sys.executable, "-c", burns], check=True)
subprocess.Popen(["sleep", "600"])
print("ready", flush=True)
time.sleep(600)
""",
)

NewPod = Callable[..., "Pod"]


@attrs.frozen
class Pod:
    """A content and its entrance, beside a first process that stands for the Pod's own."""

    content: subprocess.Popen[bytes]
    entrance: subprocess.Popen[bytes]
    orders: int

    async def order(self, grace: float, secret: str = SECRET) -> bool:
        return await order.end("127.0.0.1", self.orders, secret, grace)

    async def usage(self, secret: str = SECRET) -> Usage | None:
        return await order.usage("127.0.0.1", self.orders, secret)


@pytest.fixture
def pod(needs: Any, entrance: Callable[..., list[str]]) -> Iterator[Callable[..., Pod]]:
    """Start a Pod and wait until its content is ready. between: starts the entrance."""
    needs.root()
    table = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    first = [*table, sys.executable, "-c", REAPS]
    with ExitStack() as started, subprocess.Popen(first, stdout=subprocess.PIPE) as holder:
        started.callback(holder.kill)
        assert holder.stdout is not None
        assert b"here\n" == holder.stdout.readline()
        child = Path(f"/proc/{holder.pid}/task/{holder.pid}/children").read_text().strip()
        beside = ["nsenter", f"--target={child}", "--pid", "--mount"]

        def pod(program: Program, signal: str = "TERM", *, between: Sequence[str] = ()) -> Pod:
            orders = free_port()
            guard = entrance("/nowhere", SECRET, free_port(above=orders), orders, signal)
            argv = ["setsid", *program.command(shell="/bin/sh", python=sys.executable)]
            content = subprocess.Popen([*beside, *argv], stdout=subprocess.PIPE)
            started.enter_context(content)
            assert content.stdout is not None
            assert b"ready\n" == content.stdout.readline()
            process = started.enter_context(subprocess.Popen([*beside, *between, *guard]))
            _listens(orders)
            return Pod(content, process, orders)

        yield pod
        holder.kill()


def _listens(port: int) -> None:
    """Wait until somebody listens there."""
    deadline = time.monotonic() + SOON
    while time.monotonic() < deadline:
        with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
            return
        time.sleep(0.02)
    raise AssertionError("nobody listens")


async def ended(process: subprocess.Popen[bytes]) -> int:
    with trio.fail_after(SOON):
        return await trio.to_thread.run_sync(process.wait, abandon_on_cancel=True)


@pytest.mark.parametrize("signal", ["TERM", "INT"])
async def test_the_content_is_sent_its_signal_and_ends_as_it_wants(
    pod: NewPod, signal: str
) -> None:
    it = pod(programs.tidies_up(signal, 0.2), signal)
    assert await it.order(LONG)
    assert 7 == await ended(it.content)
    assert 0 == await ended(it.entrance)  # it is alone then


async def test_after_the_grace_every_process_is_killed(pod: NewPod) -> None:
    it = pod(programs.STUBBORN)
    begun = trio.current_time()
    assert await it.order(0.5)
    assert 0 == await ended(it.entrance)  # it waits for every other process
    assert trio.current_time() - begun >= 0.5
    assert -SIGKILL == await ended(it.content)


async def test_a_second_order_shortens_the_grace_and_never_extends_it(pod: NewPod) -> None:
    it = pod(programs.STUBBORN)
    for grace in (LONG, 0.1, LONG):
        assert await it.order(grace)
    await ended(it.entrance)


async def test_no_grace_is_no_signal_but_kill(pod: NewPod) -> None:
    it = pod(programs.tidies_up("TERM", 0.0))
    assert await it.order(0.0)
    assert -SIGKILL == await ended(it.content)


async def test_only_who_knows_the_secret_can_order(pod: NewPod) -> None:
    it = pod(programs.SLEEPS)
    assert not await it.order(0.2, "b" * 64)
    assert it.content.poll() is None
    assert await it.order(0.0)
    await ended(it.content)


async def test_outside_of_a_pod_nothing_is_signalled(pod: NewPod) -> None:
    it = pod(programs.SLEEPS, between=("sh", "-c", '"$@"; exit', "sh"))
    assert not await it.order(0.2)
    assert it.content.poll() is None


async def test_what_the_content_uses_is_told_to_who_knows_the_secret(pod: NewPod) -> None:
    it = pod(COMPUTES)
    used = await it.usage()
    assert used is not None
    assert 2 == used.processes
    assert 0.4 <= used.cpu < 5.0
    assert 1 << 20 < used.memory < 200 << 20
    assert await it.usage("b" * 64) is None


async def test_who_tells_nothing_of_use_is_given_up_soon() -> None:
    async def hangs_up(stream: trio.SocketStream) -> None:  # as an entrance of before does
        await stream.receive_some()

    async def is_silent(_: trio.SocketStream) -> None:
        await trio.sleep_forever()

    local = partial(trio.serve_tcp, port=0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        for behaves in (is_silent, hangs_up):
            (listener,) = await nursery.start(partial(local, behaves))
            port = listener.socket.getsockname()[1]
            with trio.fail_after(SOON):
                assert await order.usage("127.0.0.1", port, SECRET) is None
        nursery.cancel_scope.cancel()
    assert await order.usage("127.0.0.1", port, SECRET) is None  # nobody listens any more


async def test_where_nobody_listens_it_is_given_up_within_the_grace() -> None:
    with trio.fail_after(order.ANSWERS):
        assert not await order.end("127.0.0.1", free_port(), SECRET, 0.2)


async def test_an_entrance_that_does_not_listen_yet_is_waited_for() -> None:
    port = free_port()
    taken: list[bool] = []

    async def says_ok(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"ok\n")

    async def ask() -> None:
        taken.append(await order.end("127.0.0.1", port, SECRET, LONG))
        nursery.cancel_scope.cancel()

    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.2)
            await nursery.start(trio.serve_tcp, says_ok, port)
    assert [True] == taken
