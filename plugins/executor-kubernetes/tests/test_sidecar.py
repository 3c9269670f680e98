"""The entrance of a Pod, run as it is there: one process, with a socket and two ports."""

from __future__ import annotations

import ast
import os
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from importlib.resources import files
from pathlib import Path

import pytest
import trio

from tests.support.server import free_port

PROGRAM = files("supervisor_executor_kubernetes").joinpath("sidecar.py").read_text("utf-8")
SECRET = "a" * 64
KNOWN = f"supervisor {SECRET}\n".encode()


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="s", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def port(directory: Path, entrance: Callable[..., list[str]]) -> Iterator[int]:
    """Run the program beside `directory`/app.sock; give its port."""
    port = free_port()
    command = entrance(str(directory / "app.sock"), SECRET, port, free_port(above=port))
    with subprocess.Popen(command) as process:
        try:
            yield port
        finally:
            assert process.poll() is None
            process.kill()


@asynccontextmanager
async def app(directory: Path) -> AsyncIterator[None]:
    """Listen as an app that gives back what it gets, in capitals, and says `END` at the end."""

    async def echo(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):  # somebody only looks whether it listens
            async for data in stream:
                await stream.send_all(data.upper())
            await stream.send_all(b"END")
            await stream.aclose()

    path = directory / "app.sock"
    listening = trio.socket.socket(socket.AF_UNIX)
    await listening.bind(str(path))
    listening.listen(2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, echo, [trio.SocketListener(listening)])
        yield
        nursery.cancel_scope.cancel()
    os.unlink(path)


async def connect(port: int) -> trio.SocketStream:
    """Connect as soon as the program listens."""
    while True:
        try:
            return await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.02)


async def answer(port: int, data: bytes, *, end: bool = True) -> bytes:
    """Send, end our way if asked to, and give all that comes back."""
    async with await connect(port) as stream:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_send, stream, data, end)
                return b"".join([chunk async for chunk in stream])
        except* trio.BrokenResourceError:
            pass
    return b""


async def _send(stream: trio.SocketStream, data: bytes, end: bool) -> None:
    await stream.send_all(data)
    if end:
        await stream.send_eof()


async def test_bytes_pass_both_ways_and_the_end_of_one_is_not_that_of_the_other(
    directory: Path, port: int
) -> None:
    async with app(directory):
        assert b"HELLOEND" == await answer(port, KNOWN + b"hello")
        large = os.urandom(2_000_000).hex().encode()
        assert large.upper() + b"END" == await answer(port, KNOWN + large)


@pytest.mark.parametrize(
    "said",
    [
        b"supervisor " + b"b" * 64 + b"\nhello",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\n",
        b"supervisor \n",
        KNOWN[:-1] + b" \nhello",
        KNOWN.upper() + b"hello",
        b"x" * 200_000,
    ],
)
async def test_whoever_does_not_say_the_secret_gets_no_answer(
    directory: Path, port: int, said: bytes
) -> None:
    async with app(directory):
        assert b"" == await answer(port, said, end=False)


async def test_whoever_says_nothing_is_cut_off_and_keeps_nobody_waiting(
    directory: Path, port: int
) -> None:
    async with app(directory), await connect(port) as idle:
        begun = trio.current_time()
        assert b"XEND" == await answer(port, KNOWN + b"x")
        assert trio.current_time() - begun < 3
        assert b"" == await idle.receive_some()
        assert 4 < trio.current_time() - begun < 15


async def test_it_listens_while_the_app_does(directory: Path, port: int) -> None:
    await trio.sleep(0.5)
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", port)
    async with app(directory):
        assert b"END" == await answer(port, KNOWN)
    assert b"" == await answer(port, KNOWN)  # this one finds out
    await trio.sleep(0.2)
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", port)
    async with app(directory):
        assert b"END" == await answer(port, KNOWN)


async def test_hundreds_come_at_once_though_the_apps_queue_is_short(
    directory: Path, port: int
) -> None:
    answers: list[bytes] = []

    async def one() -> None:
        answers.append(await answer(port, KNOWN + b"x" * 10_000))

    async with app(directory), trio.open_nursery() as nursery:
        for _ in range(300):
            nursery.start_soon(one)
    assert [b"X" * 10_000 + b"END"] * 300 == answers


def test_it_is_short_and_python_3_7_can_read_it() -> None:
    ast.parse(PROGRAM, feature_version=(3, 7))
    assert PROGRAM.count("\n") <= 245
