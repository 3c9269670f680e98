"""Ask a starting process whether it answers as its plan says."""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Awaitable, Callable

import attrs
import trio

from supervisor import unixsocket
from supervisor.errors import SupervisorError
from supervisor.model import Endpoint, InnerEndpoint, Ready, TcpEndpoint, UnixEndpoint

Inside = Callable[[InnerEndpoint], Awaitable[socket.socket]]  # Executor.connect

# seconds between two tries: each is 0.1 ms of work, and the first visitor waits for the last one
FIRST_PAUSE, LONGEST_PAUSE = 0.005, 0.03

_STATUS = re.compile(rb"[0-9]{3}")
LOOKS, BETWEEN = 3, 0.5  # how often, and seconds apart, who was doubted is looked at
DIAL_LIMIT = 3.0  # seconds for a TCP connection
HELD = 0.2  # seconds for which a connection stays open that leads to a process which accepts


async def until_ready(
    endpoint: Endpoint,
    ready: Ready,
    waiting: Callable[[str], None],
    inside: Inside | None = None,
) -> None:
    """Return once the process answers. No time limit of its own; cancel it.

    `waiting` is told what is in the way whenever that changes. inside: how to connect to an
    InnerEndpoint.
    """
    pause, told = FIRST_PAUSE, ""

    def tell(trouble: str) -> None:
        nonlocal told
        if trouble != told:
            waiting(trouble)
            told = trouble

    while True:
        trouble = await _try(endpoint, ready, tell, inside)
        if trouble is None:
            return
        tell(trouble)
        await trio.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)


async def gone_deaf(endpoint: Endpoint, inside: Inside | None = None) -> SupervisorError | None:
    """Connect a few times, and hang up; give why none was accepted, or None as soon as one was."""
    trouble = await listens(endpoint, inside)
    for _ in range(LOOKS - 1):
        if trouble is None:
            break
        await trio.sleep(BETWEEN)
        trouble = await listens(endpoint, inside)
    return trouble


async def listens(endpoint: Endpoint, inside: Inside | None = None) -> SupervisorError | None:
    """Connect once and hang up; give why that is not possible, or None."""
    try:
        sock = await _connect(endpoint, inside)
        if await _is_refused(sock, endpoint):
            raise ConnectionRefusedError
    except SupervisorError as error:
        return None if error.recoverable else error  # who connects is away: that says nothing
    except OSError as error:
        why = error.strerror or str(error) or "refused"
        text = f"it does not accept connections any more ({why})"
        return SupervisorError("start-failed", text)
    return None


async def answers(endpoint: Endpoint, ready: Ready, inside: Inside | None = None) -> None:
    """Return when the process has answered, whatever it says, or does not listen any more.

    A connection alone is no answer: the kernel accepts for a process that computes.
    """
    if ready.pulse is not None:
        ready = attrs.evolve(ready, path=ready.pulse, connect_only=False)
    await _try(endpoint, ready, lambda trouble: None, inside)


async def _try(
    endpoint: Endpoint, ready: Ready, tell: Callable[[str], None], inside: Inside | None
) -> str | None:
    """Give what is in the way, or None."""
    try:
        sock = await _connect(endpoint, inside)
    except FileNotFoundError:
        return "it does not listen yet"
    except SupervisorError as error:
        return error.message
    except OSError as error:
        return f"it does not accept connections yet ({error.strerror or error})"
    if ready.connect_only:
        return "it does not listen yet" if await _is_refused(sock, endpoint) else None
    tell(f"it has not answered GET {ready.path} yet")
    with trio.socket.from_stdlib_socket(sock) as stream:
        try:
            return await _get(stream, ready)
        except OSError as error:
            return f"it closed the connection ({error.strerror or error})"


async def _connect(endpoint: Endpoint, inside: Inside | None) -> socket.socket:
    if isinstance(endpoint, InnerEndpoint):
        assert inside is not None
        return await inside(endpoint)
    if isinstance(endpoint, UnixEndpoint):
        directory = unixsocket.open_directory(endpoint.directory)
        try:
            return unixsocket.connect(directory, endpoint.name, endpoint.uid)
        finally:
            os.close(directory)
    return await _dial(endpoint)


async def _dial(endpoint: TcpEndpoint) -> socket.socket:
    """Connect and say the secret. Raises OSError."""
    family = socket.AF_INET6 if ":" in endpoint.host else socket.AF_INET
    sock = trio.socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with trio.move_on_after(DIAL_LIMIT) as limit:
            await sock.connect((endpoint.host, endpoint.port))
            if endpoint.secret is not None:
                await sock.send(f"supervisor {endpoint.secret}\n".encode("ascii"))
        if limit.cancelled_caught:
            raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
        return socket.socket(fileno=sock.detach())
    except BaseException:
        sock.close()
        raise


async def _is_refused(sock: socket.socket, endpoint: Endpoint) -> bool:
    """Close a connection; tell whether the other side did so first, with no word from us.

    What stands before a process on another machine accepts for it, and hangs up where it cannot
    connect in turn. A Unix socket and a port inside are the process's own.
    """
    with trio.socket.from_stdlib_socket(sock) as stream:
        if not isinstance(endpoint, TcpEndpoint):
            return False
        with trio.move_on_after(HELD):
            try:
                return not await stream.recv(1)
            except OSError:
                return True
        return False


async def _get(stream: trio.socket.SocketType, ready: Ready) -> str | None:
    request = (
        f"GET {ready.path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: content-supervisor\r\n"
        "Accept: */*\r\nConnection: close\r\n\r\n"
    )
    await stream.send(request.encode("ascii"))
    head = b""
    while b"\n" not in head and len(head) < 4096:
        data = await stream.recv(4096)
        if not data:
            return "it closed the connection without an answer"
        head += data
    parts = head.split(None, 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/") or not _STATUS.fullmatch(parts[1]):
        return "it does not speak HTTP"
    status = int(parts[1])
    if status in ready.statuses or (not ready.statuses and status < 500):
        return None
    return f"it answers GET {ready.path} with status {status}"
