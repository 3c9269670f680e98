"""Let the gateway, and nobody else, in to the app of this Pod. Runs in the container `access`.

Travels in the Pod's command: standard library only, Python 3.7 and newer. The app listens on a Unix
socket that the two containers share, this listens on TCP. The first line of a connection must be
`supervisor SECRET`; whoever does not send it within FIRST_LINE seconds gets no answer. The Pod's
spec holds only the SHA-256 of the secret. All other bytes pass as they are, both ways.

It listens while the app does: a refused connection means what it means locally. It ends when no
other process is left in the Pod, whose containers share one table of processes.

On a second port it always listens, for the server. After the same first line comes another: `usage`
asks for CPU seconds, bytes and number of the content's processes; a grace in seconds is the order
to end: the content is sent its signal, `ok` is the answer, and after the grace whatever is left is
killed.
Arguments: the app's socket, the SHA-256 of the secret in hex, the TCP port, the one for orders, the
signal (TERM or INT).
"""

# ruff: noqa: UP041
from __future__ import annotations

import asyncio
import contextlib
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
OWN = (1, os.getpid())


class Content:
    """All processes of the Pod but its first and this one."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.kill: asyncio.TimerHandle | None = None

    def end(self, grace: float) -> None:
        """Send the signal, and KILL after the grace; a second call can only shorten it."""
        if os.getppid():  # started from within its table of processes: this is no Pod
            raise OSError("not in a Pod")
        loop = asyncio.get_running_loop()
        due = loop.time() + grace
        if self.kill is None:
            for pid in mains() if grace > 0 else ():
                tell(pid, self.number)
        elif self.kill.when() <= due:
            return
        else:
            self.kill.cancel()
        self.kill = loop.call_at(due, tell, -1, signal.SIGKILL)


class Access:
    """The entrance of one app."""

    def __init__(self, app: str, digest: str, port: int, content: Content) -> None:
        self.app = app
        self.digest = digest
        self.port = port
        self.content = content
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

    async def order(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say what the content uses, or end it, for who says the secret."""
        try:
            if await self.is_known(reader):
                said = await reader.readline()
                if said == b"usage\n":
                    writer.write(b"%.2f %d %d\n" % usage())
                else:
                    self.content.end(float(said))
                    writer.write(b"ok\n")
        except (OSError, ValueError):
            pass
        writer.close()

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


def tell(pid: int, number: int) -> None:
    """Send a signal; gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def mains() -> list[int]:
    """Give the process that each other container was started with; -id where it leads a group."""
    found = []
    for pid in others():
        said = stat(pid)
        if said and said[1] == "0":
            found.append(-pid if said[2] == str(pid) else pid)
    return found


def usage() -> tuple[float, int, int]:
    """Give CPU seconds, with those of children that have ended, resident bytes, and how many.

    What a content leaves behind is reaped by the Pod's first process, whose children count too.
    """
    ended = stat(1)[13:15]
    living = [said for said in map(stat, others()) if said]
    ticks = sum(map(int, ended)) + sum(int(each) for said in living for each in said[11:15])
    pages = sum(int(said[21]) for said in living)
    return ticks / os.sysconf("SC_CLK_TCK"), pages * os.sysconf("SC_PAGE_SIZE"), len(living)


def stat(pid: int) -> list[str]:
    """Give the fields of /proc/PID/stat behind the name, the state first; [] once it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def others() -> list[int]:
    """Give the processes of the Pod but its first and this one."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and int(name) not in OWN]


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


async def main(app: str, digest: str, port: str, orders: str, name: str) -> None:
    access = Access(app, digest, int(port), Content(signal.Signals["SIG" + name]))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, access.end)
    taking = await asyncio.start_server(access.order, sock=listener(int(orders)), limit=CHUNK)
    serving = asyncio.ensure_future(access.run())
    while others():
        await asyncio.sleep(ALONE)
        if serving.done():
            serving.result()
    taking.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
