"""The core's link to the parent: orders, and a reload that is asked for."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from supervisor import packets
from supervisor.core.control import Control
from supervisor.errors import SupervisorError
from supervisor.log import Log

QUIET = Log("core", level="error", fd=os.open(os.devnull, os.O_WRONLY))


class Parent:
    """The other end of the link."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        self.control = Control(sock=theirs, log=QUIET)

    async def heard(self, kind: str) -> dict[str, Any]:
        while True:
            await trio.lowlevel.wait_readable(self.sock)
            packet = packets.receive(self.sock)
            assert packet is not None
            if packet[0]["type"] == kind:
                return packet[0]

    def say(self, **message: Any) -> None:
        packets.send(self.sock, message)


@pytest.fixture
def parent() -> Iterator[Parent]:
    one = Parent()
    yield one
    one.sock.close()
    if one.control.sock is not None:
        one.control.sock.close()


async def test_a_reload_returns_when_it_has_begun(parent: Parent, nursery: trio.Nursery) -> None:
    await nursery.start(parent.control.run)
    async with trio.open_nursery() as asking:
        asking.start_soon(parent.control.reload)
        assert {"type": "reload"} == await parent.heard("reload")
        parent.say(type="reloading")


async def test_a_refused_reload_says_why(parent: Parent, nursery: trio.Nursery) -> None:
    await nursery.start(parent.control.run)

    async def refuse() -> None:
        await parent.heard("reload")
        parent.say(type="reloaded", ok=False, reason="it does not import", hint="see keeper.py")

    nursery.start_soon(refuse)
    with pytest.raises(SupervisorError) as caught:
        await parent.control.reload()
    assert ("not-reloaded", "it does not import", "see keeper.py") == (
        caught.value.code,
        caught.value.message,
        caught.value.hint,
    )


async def test_a_second_reload_at_the_same_time_is_refused_at_once(
    parent: Parent, nursery: trio.Nursery
) -> None:
    await nursery.start(parent.control.run)
    nursery.start_soon(parent.control.reload)
    await parent.heard("reload")
    with pytest.raises(SupervisorError, match="under way"):
        await parent.control.reload()
    parent.say(type="reloading")


async def test_a_core_without_a_parent_cannot_be_reloaded() -> None:
    with pytest.raises(SupervisorError, match="without a parent"):
        await Control(sock=None, log=QUIET).reload()


@pytest.mark.parametrize("order", ["stop", "leave"])
async def test_stop_and_leave_both_end_the_core_and_are_told_apart(
    parent: Parent, nursery: trio.Nursery, order: str
) -> None:
    await nursery.start(parent.control.run)
    parent.say(type=order, seconds=3)
    await parent.control.ending.wait()

    assert (order == "stop", order == "leave") == (
        parent.control.stop.is_set(),
        parent.control.leave.is_set(),
    )
