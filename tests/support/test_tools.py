"""The Shiny client and the browser tell the truth about real apps."""

from __future__ import annotations

import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio
from supervisor_python.installations import probe
from supervisor_python.runtime import PythonRuntime

from supervisor import Purpose
from tests.support.browser import open_tab
from tests.support.crowd import crowd, summary
from tests.support.serving import plan_for, served
from tests.support.shiny_client import LOST, OutputFailed, Refused, SessionEnded, Visitor

Serve = Callable[[str | Path], Any]


@pytest.fixture
def serve(needs: Any, checkout: Path) -> Serve:
    installation = probe(needs.python("shiny"))
    assert installation is not None
    plan = plan_for(PythonRuntime(), installation, purpose=Purpose.SERVE)
    return lambda source: served(plan, checkout / source)


@pytest.mark.system
async def test_a_killed_app_is_a_lost_session(serve: Serve) -> None:
    async with serve("examples/shiny-python-core") as app:
        await app.listening()
        async with app.visitor.session(["total"], {"n": 5}) as session:
            assert "12" == await session.value("total")
            assert session.is_open
            app.process.send_signal(signal.SIGKILL)
            assert LOST == await session.closed()
            with pytest.raises(SessionEnded, match="1006"):
                await session.value("total")


@pytest.mark.system
async def test_an_error_of_an_output_is_not_a_value(serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "from shiny.express import input, render\n"
        "@render.text\n"
        "def value(): raise RuntimeError('out of order')\n"
    )
    async with serve(tmp_path) as app:
        await app.listening()
        async with app.visitor.session(["value"]) as session:
            with pytest.raises(OutputFailed, match="out of order"):
                await session.value("value")


@pytest.mark.system
async def test_what_is_no_websocket_is_refused_with_its_status(serve: Serve) -> None:
    async with serve("examples/shiny-python-core") as app:
        await app.listening()
        with pytest.raises(Refused, match="403"):
            async with app.visitor.session([], path="nothing/here"):
                raise AssertionError("the socket was opened")


@pytest.mark.system
async def test_a_crowd_is_served_by_one_process(serve: Serve) -> None:
    async with serve("examples/shiny-python-core") as app:
        await app.listening()
        visits = await crowd(
            "http://app.example/",
            20,
            socket=str(app.socket),
            output="total",
            inputs={"n": 5},
            updates=[{"n": 6}, {"n": 7}],
        )
        assert (20, 0) == (summary(visits)["visitors"], summary(visits)["failed"])
        assert 40 == sum(len(visit.updates) for visit in visits)


async def test_cookies_are_kept_as_a_browser_keeps_them() -> None:
    heads: list[bytes] = []

    async def answer(stream: trio.SocketStream) -> None:
        heads.append(bytes(await stream.receive_some(65536)))
        await stream.send_all(
            b"HTTP/1.1 200 OK\r\nSet-Cookie: pin=7; Path=/content/\r\nContent-Length: 2\r\n\r\nok"
        )

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, answer, [listener])
        port = listener.socket.getsockname()[1]
        visitor = Visitor(f"http://127.0.0.1:{port}/content/x/")
        assert b"ok" == (await visitor.get()).body
        await visitor.get("deeper?q=1")
        nursery.cancel_scope.cancel()
    assert b"cookie" not in heads[0].lower()
    assert heads[1].startswith(b"GET /content/x/deeper?q=1 HTTP/1.1\r\n")
    assert b"pin=7" in heads[1]


@pytest.mark.system
async def test_a_browser_shows_what_the_app_computed(
    serve: Serve, needs: Any, tmp_path: Path
) -> None:
    needs.chromium()

    def look(port: int) -> list[str]:
        with open_tab() as tab:
            tab.page.goto(f"http://127.0.0.1:{port}/")
            tab.wait_for_text("#total", "376")
            tab.move_slider("n", 9)
            tab.wait_for_text("#total", "88")
            picture = tab.screenshot(tmp_path / "page.png")
            assert picture.read_bytes().startswith(b"\x89PNG")
            return tab.errors

    async with serve("examples/shiny-python-core") as app, trio.open_nursery() as nursery:
        await app.listening()
        port = await nursery.start(forward, str(app.socket))
        assert [] == await trio.to_thread.run_sync(look, port)
        nursery.cancel_scope.cancel()


async def forward(
    path: str, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED
) -> None:
    """Let a loopback port lead to a Unix socket; starts with the port."""

    async def pump(source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            async for data in source:
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def join(client: trio.SocketStream) -> None:
        async with await trio.open_unix_socket(path) as server, trio.open_nursery() as nursery:
            nursery.start_soon(pump, client, server)
            nursery.start_soon(pump, server, client)

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    serve_all: Callable[..., Awaitable[Any]] = trio.serve_listeners
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve_all, join, [listener])
        task_status.started(listener.socket.getsockname()[1])
