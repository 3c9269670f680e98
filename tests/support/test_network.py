"""Whoever is in another network is there with all its threads, and comes back with them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from tests.support.network import network_of


@pytest.fixture
def other(needs: Any) -> Iterator[int]:
    """A process in a network of its own."""
    needs.root()
    command = ["unshare", "--net", "sh", "-c", "echo here; exec sleep 60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert b"here\n" == process.stdout.readline()
        yield process.pid
        process.kill()


@pytest.mark.system
async def test_threads_that_trio_keeps_enter_a_network_and_leave_it(other: int) -> None:
    host = await both()  # from now on there is a thread that is kept
    with network_of(other):
        assert {os.readlink(f"/proc/{other}/ns/net")} == await both() != host
    assert host == await both()


async def both() -> set[str]:
    """Give the networks of this thread, and of those that calls get."""
    found = {here()}

    async def one() -> None:
        found.add(await trio.to_thread.run_sync(here))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one)
    return found


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")
