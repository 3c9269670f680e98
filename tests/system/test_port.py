"""Content that listens on a TCP port alone: through the whole server, without the core, after a
reload."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import LiveServer, kill, live_server

pytestmark = pytest.mark.system

SETTINGS = """
[Network]
Egress = NONE
MostEgress = NONE
"""
# In place of Streamlit, which is large: it listens where Streamlit would.
STREAMLIT = """
import asyncio, base64, hashlib, os, sys

NAME = open("name").read()

async def serve(reader, writer):
    head = (await reader.readuntil(b"\\r\\n\\r\\n")).decode()
    fields = dict(line.split(": ", 1) for line in head.split("\\r\\n")[1:] if ": " in line)
    fields = {name.lower(): value for name, value in fields.items()}
    if "upgrade" in fields:
        key = fields["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        writer.write(
            "HTTP/1.1 101 Switching Protocols\\r\\nUpgrade: websocket\\r\\n"
            f"Connection: Upgrade\\r\\nSec-WebSocket-Accept: {accept}\\r\\n\\r\\n".encode()
        )
        _, length = await reader.readexactly(2)
        mask = await reader.readexactly(4)
        data = await reader.readexactly(length & 127)
        text = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data)) + NAME.encode()
        writer.write(bytes([0x81, len(text)]) + text)
    else:
        body = f"{NAME} {' '.join(sys.argv[1:])} {os.environ['SUPERVISOR_PORT']}".encode()
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n%b" % (len(body), body))
    await writer.drain()
    writer.close()

async def main():
    port = int(os.environ["STREAMLIT_SERVER_PORT"])
    server = await asyncio.start_server(serve, os.environ["STREAMLIT_SERVER_ADDRESS"], port)
    async with server:
        await server.serve_forever()

asyncio.run(main())
"""


def write_app(folder: Path) -> Path:
    (folder / "streamlit").mkdir(parents=True)
    (folder / "streamlit" / "__init__.py").touch()
    (folder / "streamlit" / "__main__.py").write_text(STREAMLIT)
    (folder / "app.py").write_text("import streamlit\n")
    (folder / "name").write_text(folder.name)
    return folder


@pytest.fixture(scope="module")
def server(needs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    needs.root()
    folder = tmp_path_factory.mktemp("ports")
    with live_server(extra=SETTINGS) as running:
        for name in ("one", "two"):
            running.deploy(write_app(folder / f"{name}-app"), f"{name}-app")
        yield running


def get(server: LiveServer, name: str, cookie: str = "", path: str = "") -> tuple[int, str, str]:
    """Give status, text and the cookie of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    headers = {"Cookie": cookie} if cookie else {}
    connection.request("GET", path or server.path(name), headers=headers)
    answer = connection.getresponse()
    pin = (answer.getheader("Set-Cookie") or "").partition(";")[0]
    found = answer.status, answer.read().decode(), pin or cookie
    connection.close()
    return found


def echoed(server: LiveServer, path: str, cookie: str) -> str:
    """Say `hello` over a WebSocket; give what comes back."""
    key = base64.b64encode(os.urandom(16)).decode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as sock:
        sock.sendall(
            f"GET {path}stream HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nCookie: {cookie}\r\n\r\n".encode()
        )
        sock.sendall(b"\x81\x85\0\0\0\0hello")
        seen = b""
        while data := sock.recv(4096):
            seen += data
    return seen.rpartition(b"\r\n\r\n")[2][2:].decode(errors="replace")


def test_two_contents_on_the_same_port_answer_through_the_gateway(server: LiveServer) -> None:
    for name in ("one-app", "two-app"):
        status, text, cookie = get(server, name)
        assert (200, f"{name} run app.py 8501") == (status, text)
        assert f"hello{name}" == echoed(server, server.path(name), cookie)
    with socket.socket() as sock:
        assert 0 != sock.connect_ex(("127.0.0.1", 8501))


def test_a_new_connection_needs_no_core(server: LiveServer) -> None:
    _, _, cookie = get(server, "one-app")
    path = server.path("one-app")
    core, parent = server.core, server.parent
    os.kill(parent, signal.SIGSTOP)  # or it would start another core
    try:
        kill(core)
        assert 200 == get(server, "one-app", cookie, f"{path}data")[0]
        assert "helloone-app" == echoed(server, path, cookie)
    finally:
        os.kill(parent, signal.SIGCONT)
    server.until(lambda: server.supervisor("list", check=False).returncode == 0, 20)


def test_a_content_may_not_reach_further_than_the_server_allows(server: LiveServer) -> None:
    refused = server.supervisor("set", "one-app", "egress=host", check=False)
    assert 0 != refused.returncode
    assert "MostEgress" in refused.stderr
    egress = server.json("set", "one-app")["settings"]["egress"]
    assert {"value": "none", "own": None, "server": "none"} == egress


def test_after_a_reload_the_same_process_is_reached(server: LiveServer) -> None:
    _, _, cookie = get(server, "two-app")
    before = [run["id"] for run in server.rows("ps", name="two-app")]
    server.supervisor("reload")
    server.until(lambda: " parent reloaded problems=0" in server.log(), 60, "reloaded")
    server.until(lambda: 200 == get(server, "two-app", cookie)[0], 20)
    assert "hellotwo-app" == echoed(server, server.path("two-app"), cookie)
    assert before == [run["id"] for run in server.rows("ps", name="two-app")]
