"""The core's end of the helper's link, without a helper or with one that misbehaves."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing
from supervisor_unshare.connection import Connection
from supervisor_unshare.executor import UnshareExecutor

from supervisor import SupervisorError, packets


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[trio.socket.SocketType]:
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    plain.bind(str(tmp_path / "helper.sock"))
    plain.listen(4)
    with trio.socket.from_stdlib_socket(plain) as sock:
        yield sock


@pytest.fixture
def link(tmp_path: Path) -> Connection:
    path = str(tmp_path / "helper.sock")
    return Connection(path, connected=lambda hello: None, event=lambda event: None)


async def say(peer: trio.socket.SocketType, **message: object) -> None:
    await peer.send(json.dumps(message).encode())


async def greeted(listener: trio.socket.SocketType) -> trio.socket.SocketType:
    peer, _ = await listener.accept()
    hello = await peer.recv(packets.LIMIT)
    assert b'"hello"' in hello
    await say(peer, type="ok", id=int(hello.split(b'"id":')[1].split(b",")[0]), v=1)
    return peer


async def test_without_a_helper_a_request_says_so_in_time(
    link: Connection, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(SupervisorError, match="did not answer 'list'") as caught:
        await link.request("list")
    assert ("helper-unavailable", True) == (caught.value.code, caught.value.recoverable)


async def test_doctor_names_a_helper_that_is_away(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    (finding,) = await UnshareExecutor(run_dir=str(tmp_path)).check()
    assert ("helper", False, True) == (finding.name, finding.ok, finding.fatal)


async def test_a_request_is_repeated_once_where_the_helper_goes_away(
    link: Connection, listener: trio.socket.SocketType, nursery: trio.Nursery
) -> None:
    answers = []

    async def ask() -> None:
        answers.append((await link.request("list"))[0]["runs"])

    nursery.start_soon(link.serve, lambda: None)
    first = await greeted(listener)
    async with trio.open_nursery() as asking:
        asking.start_soon(ask)
        await first.recv(packets.LIMIT)
        first.close()
        second = await greeted(listener)
        request = await second.recv(packets.LIMIT)
        number = int(request.split(b'"id":')[1].rstrip(b"}"))
        await say(second, type="ok", id=number, runs=[])
    assert [[]] == answers


async def test_an_error_of_the_helper_is_raised_with_its_hint(
    link: Connection, listener: trio.socket.SocketType, nursery: trio.Nursery
) -> None:
    nursery.start_soon(link.serve, lambda: None)
    peer = await greeted(listener)

    async def refuse() -> None:
        request = await peer.recv(packets.LIMIT)
        number = int(request.split(b'"id":')[1].split(b",")[0].rstrip(b"}"))
        await say(peer, type="error", id=number, code="job-refused", message="no", hint="because")

    nursery.start_soon(refuse)
    with pytest.raises(SupervisorError) as caught:
        await link.request("list")
    assert ("job-refused", "no", "because") == (
        caught.value.code,
        caught.value.message,
        caught.value.hint,
    )


async def test_a_request_over_the_packet_limit_is_refused_before_it_is_sent(
    link: Connection, listener: trio.socket.SocketType, nursery: trio.Nursery
) -> None:
    nursery.start_soon(link.serve, lambda: None)
    with await greeted(listener), pytest.raises(SupervisorError, match="too large"):
        await link.request("start", job="x" * packets.LIMIT)
