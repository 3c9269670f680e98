"""Networks of content: what each egress reaches, and how content on a port is reached."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import aclosing

import pytest
import trio
from supervisor_unshare.executor import UnshareExecutor

from supervisor import Egress, InnerEndpoint, Job, Receipt, Running, SupervisorError

pytestmark = pytest.mark.system

HTTP = """
import http.server
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello")
http.server.HTTPServer(("127.0.0.1", {port}), Handler).serve_forever()
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
