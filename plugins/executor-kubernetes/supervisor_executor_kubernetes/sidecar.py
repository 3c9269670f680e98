"""Let the gateway, and nobody else, in to the app of this Pod. Runs in the container `access`.

Travels in the Pod's command: standard library only, Python 3.7 and newer. The app listens on a Unix
socket that the two containers share, this listens on TCP. The first line of a connection must be
`supervisor SECRET`; whoever does not send it within FIRST_LINE seconds gets no answer. The Pod's
spec holds only the SHA-256 of the secret. All other bytes pass as they are, both ways.

It listens while the app does: a refused connection means what it means locally. It ends when no
other process is left in the Pod, whose containers share one table of processes.
Arguments: the app's socket, the TCP port, the SHA-256 of the secret in hex.
"""

# ruff: noqa: UP041
from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import signal
import socket
import sys

FIRST_LINE = 5.0  # seconds
MOST_UNKNOWN = 512  # connections that have not said the secret yet
LOOK = 0.1  # seconds between two looks for the app's socket
ALONE = 0.5  # seconds between two looks for other processes
CHUNK = 65536


class Access:
    """The entrance of one app."""

    def __init__(self, app: str, port: int, digest: str) -> None:
        self.app = app
        self.port = port
        self.digest = digest
        self.unknown = 0
        self.visits: set[object] = set()  # asyncio itself forgets tasks that wait
        self.refused = asyncio.Event()
        self.ending = False

    async def run(self) -> None:
        """Listen whenever the app does, until end()."""
        while not self.ending:
            await until_listening(self.app)
            self.refused = asyncio.Event()
            sock = listener(self.port)
            server = await asyncio.start_server(self.visit, sock=sock, limit=CHUNK, backlog=1024)
            await self.refused.wait()
            server.close()

    def end(self) -> None:
        """Take no more visitors; those who are here stay while the app does."""
        self.ending = True
        self.refused.set()

    async def visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        app, visit = None, asyncio.current_task()
        self.visits.add(visit)
        try:
            if await self.is_known(reader):
                app_reader, app = await connect(self.app)
                await asyncio.gather(copy(reader, app), copy(app_reader, writer))
        except (ConnectionRefusedError, FileNotFoundError):
            self.refused.set()
        except OSError:  # whoever has broken off: the other one is to know that it was no end
            for end in filter(None, (app, writer)):
                end.transport.abort()
        for end in filter(None, (app, writer)):
            end.close()
        self.visits.discard(visit)

    async def is_known(self, reader: asyncio.StreamReader) -> bool:
        """Tell whether the visitor says the secret, in time."""
        if self.unknown >= MOST_UNKNOWN:
            return False
        self.unknown += 1
        try:
            line = await asyncio.wait_for(reader.readline(), FIRST_LINE)
        except (asyncio.TimeoutError, ValueError):  # the latter: too long
            return False
        finally:
            self.unknown -= 1
        told = hashlib.sha256(line[len(b"supervisor ") : -1]).hexdigest()
        return line.startswith(b"supervisor ") and hmac.compare_digest(told, self.digest)


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass bytes on until the end of one way, then pass on that end."""
    while True:
        data = await reader.read(CHUNK)
        if not data:
            break
        writer.write(data)
        await writer.drain()
    writer.write_eof()


async def connect(path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect to the app, and wait while its queue is full: asyncio takes that for connected."""
    sock = socket.socket(socket.AF_UNIX)
    sock.setblocking(False)
    while True:
        try:
            sock.connect(path)
            return await asyncio.open_unix_connection(sock=sock, limit=CHUNK)
        except BlockingIOError:
            await asyncio.sleep(LOOK)
        except OSError:
            sock.close()
            raise


async def until_listening(path: str) -> None:
    while True:
        try:
            _, writer = await connect(path)
            writer.close()
            return
        except OSError:
            await asyncio.sleep(LOOK)


def listener(port: int) -> socket.socket:
    """Bind to every address of the Pod: IPv6 and IPv4, or IPv4 where there is nothing else."""
    try:
        sock = socket.socket(socket.AF_INET6)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    except OSError:
        sock = socket.socket(socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", port))
    return sock


async def main(app: str, port: str, digest: str) -> None:
    access = Access(app, int(port), digest)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, access.end)
    serving = asyncio.ensure_future(access.run())
    own = {"1", str(os.getpid())}
    while any(name.isdigit() and name not in own for name in os.listdir("/proc")):
        await asyncio.sleep(ALONE)
        if serving.done():
            serving.result()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
