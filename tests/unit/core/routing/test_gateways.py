"""What is told to a gateway, and what no more."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import trio
import trio.testing

from supervisor import packets
from supervisor.core.routing.gateways import Gateway
from supervisor.log import Log

GONE = {"type": "gone", "run": "a", "reason": ""}


@pytest.fixture
def ends() -> Iterator[tuple[Gateway, socket.socket]]:
    """A gateway as the core has it, and the gateway's own end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, open(os.devnull, "w") as nowhere:
        ours.setblocking(False)
        theirs.setblocking(False)
        yield Gateway(sock=ours, log=Log("core", fd=nowhere.fileno())), theirs


async def test_what_was_queued_before_the_sending_began_is_sent(
    ends: tuple[Gateway, socket.socket],
) -> None:
    gateway, theirs = ends
    gateway.send(GONE)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway.send_all)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert (GONE, []) == packets.receive(theirs)


@pytest.mark.parametrize("before", [False, True])
async def test_what_is_told_while_a_core_ends_its_own_tasks_is_not_sent(
    ends: tuple[Gateway, socket.socket], before: bool
) -> None:
    gateway, theirs = ends
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gateway.send_all)
        await trio.testing.wait_all_tasks_blocked()
        if before:
            gateway.send(GONE)
        nursery.cancel_scope.cancel()
        gateway.send(GONE)
    with pytest.raises(BlockingIOError):
        packets.receive(theirs)
