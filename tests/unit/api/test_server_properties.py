"""Whatever bytes come, in whatever pieces: the bridge answers or closes, and never breaks."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from supervisor.api.server import serve_connection
from supervisor.log import Log

LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1\r\n",
        b"POST /x%ff%00?a=%zz HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
        b"HEAD /\xff HTTP/1.0\r\n",
        b"Host: x\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"fffffffffffffffff\r\n",
        b"hello",
        b"\x00\n",
    ]
)
PIECES = st.lists(st.one_of(LINES, st.binary(max_size=20)), max_size=12)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Read the body or not, by the path's length, and answer."""
    more = len(scope["path"]) % 2 == 1
    while more:
        more = (await receive()).get("more_body", False)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
async def nothing_logged() -> AsyncGenerator[Log]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield Log("core", fd=writer)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1000)
    os.close(reader)
    os.close(writer)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pieces=PIECES)
async def test_any_bytes_end_in_answers_and_a_closed_connection(
    pieces: list[bytes], nothing_logged: Log
) -> None:
    ours, theirs = trio.socket.socketpair()
    answer = b""
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery, trio.SocketStream(ours) as stream:
            nursery.start_soon(serve_connection, trio.SocketStream(theirs), echo, nothing_logged)
            with suppress(trio.BrokenResourceError):
                for piece in pieces:
                    await stream.send_all(piece)
                await stream.send_eof()
            with suppress(trio.BrokenResourceError):
                answer = b"".join([bytes(part) async for part in stream])
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
