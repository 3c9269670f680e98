"""The bridge: what a connection lives through, from raw bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

import h11
import pytest
import trio

from supervisor.api.server import IDLE_TIMEOUT, serve_connection
from supervisor.log import Log

Scope = dict[str, Any]


class Connection:
    """A client's end, and the application that the test gives the server."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.http = h11.Connection(h11.CLIENT)

    async def request(self, data: bytes) -> tuple[int, bytes]:
        await self.stream.send_all(data)
        return await self.response()

    async def response(self) -> tuple[int, bytes]:
        if self.http.our_state is h11.IDLE:  # h11 must believe that it sent the request
            self.http.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
            self.http.send(h11.EndOfMessage())
        status, body = 0, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                self.http.receive_data(await self.stream.receive_some(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                if self.http.their_state is h11.DONE:
                    self.http.start_next_cycle()
                return status, body


class App:
    """An application that notes what it got and answers as `answer` says."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.disconnected = trio.Event()
        self.ended = trio.Event()
        self.error: Exception | None = None
        self.read_body = True

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.run(scope, receive, send)
        finally:
            self.ended.set()

    async def run(self, scope: Any, receive: Any, send: Any) -> None:
        body, more = b"", self.read_body
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(body)
        if self.error is not None:
            raise self.error
        if scope["path"] == "/follow":
            while (await receive())["type"] != "http.disconnect":
                pass
            self.disconnected.set()
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})


@pytest.fixture
def app() -> App:
    return App()


@pytest.fixture
async def connection(app: App, tmp_path: Any) -> AsyncGenerator[Connection]:
    ours, theirs = trio.socket.socketpair()
    with (tmp_path / "log").open("wb") as log:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                serve_connection, trio.SocketStream(theirs), app, Log("core", fd=log.fileno())
            )
            async with trio.SocketStream(ours) as stream:
                yield Connection(stream)
            nursery.cancel_scope.cancel()


async def test_a_connection_takes_request_after_request(connection: Connection) -> None:
    get = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
    answers = [await connection.request(get % number) for number in range(3)]
    assert [(200, b"/0"), (200, b"/1"), (200, b"/2")] == answers


async def test_an_application_that_reads_nothing_keeps_the_connection(
    connection: Connection, app: App
) -> None:
    app.read_body = False
    get = b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"
    assert [(200, b"/x")] * 2 == [await connection.request(get) for _ in range(2)]


async def test_pipelined_requests_are_answered_in_order(connection: Connection) -> None:
    get = b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n"
    await connection.stream.send_all(get % 1 + get % 2)
    assert [b"/1", b"/2"] == [(await connection.response())[1] for _ in range(2)]


async def test_a_chunked_body_arrives_whole(connection: Connection, app: App) -> None:
    await connection.request(
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    )
    assert [b"abcde"] == app.bodies


async def test_who_expects_100_is_told_to_go_on(connection: Connection, app: App) -> None:
    await connection.stream.send_all(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
    )
    assert (await connection.stream.receive_some(1000)).startswith(b"HTTP/1.1 100 ")
    assert 200 == (await connection.request(b"ok"))[0]
    assert [b"ok"] == app.bodies


async def test_an_early_answer_reaches_a_client_that_still_uploads(
    connection: Connection, app: App
) -> None:
    app.read_body = False
    await connection.stream.send_all(
        b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n"
    )

    async def upload() -> None:
        with suppress(trio.BrokenResourceError):
            while True:
                await connection.stream.send_all(bytes(65536))

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(upload)
            await app.ended.wait()  # though nobody takes what still comes
            assert (200, b"/early") == await connection.response()


async def test_an_application_hears_that_its_client_has_gone(
    connection: Connection, app: App
) -> None:
    await connection.stream.send_all(b"GET /follow HTTP/1.1\r\nHost: x\r\n\r\n")
    await connection.stream.aclose()
    with trio.fail_after(5):
        await app.disconnected.wait()


async def test_a_client_that_goes_in_the_middle_of_its_body_is_noticed(
    connection: Connection, app: App
) -> None:
    await connection.stream.send_all(
        b"POST /follow HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"
    )
    await connection.stream.aclose()
    with trio.fail_after(5):
        await app.disconnected.wait()
    assert [b"abc"] == app.bodies


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",  # no Host
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_refused_and_closed(
    connection: Connection, data: bytes, app: App
) -> None:
    status, _ = await connection.request(data)
    assert 400 == status
    assert not app.bodies
    assert b"" == await connection.stream.receive_some(1)


async def test_a_head_without_end_is_refused(connection: Connection) -> None:
    await connection.stream.send_all(b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000)
    assert (await connection.stream.receive_some(1000)).startswith(b"HTTP/1.1 431 ")


async def test_head_is_answered_without_a_body(connection: Connection) -> None:
    await connection.stream.send_all(b"HEAD /x HTTP/1.1\r\nHost: x\r\n\r\n")
    answer = await connection.stream.receive_some(1000)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n")


async def test_a_defect_of_the_application_is_an_answer_without_traceback(
    connection: Connection, app: App
) -> None:
    app.error = ZeroDivisionError("secret detail")
    status, body = await connection.request(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert 500 == status
    assert b"reference=" in body
    assert b"secret" not in body


async def test_an_idle_connection_is_closed(
    connection: Connection, autojump_clock: trio.testing.MockClock
) -> None:
    assert b"" == await connection.stream.receive_some(1)
    assert trio.current_time() >= IDLE_TIMEOUT
