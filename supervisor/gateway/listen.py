"""Accept connections on an inherited listening socket, and back off where descriptors run out."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from supervisor.gateway.loop import IN, Loop

_EXHAUSTED = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_BATCH = 64
_PAUSE = 0.1  # seconds


class Listener:
    """One listening socket. Options of TCP are set here once: accepted sockets inherit them."""

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        accepted: Callable[[socket.socket, bytes], None],
        room: Callable[[], bool],
    ) -> None:
        """accepted: gets each connection and its peer's address; room: whether more may come."""
        self._loop = loop
        self._sock = sock
        self._accepted = accepted
        self._room = room
        self._open = True
        self._warned = False
        sock.setblocking(False)
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            tune(sock)
        loop.watch(sock.fileno(), IN, self)

    def event(self, mask: int) -> None:
        """Accept what waits, up to a batch."""
        for _ in range(_BATCH):
            if not self._room():
                self._back_off("all connections that the limit of open files allows are in use")
                return
            try:
                sock, address = self._sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    self._back_off(error.strerror or "no descriptor left")
                    return
                continue  # the peer of this one connection is gone already
            sock.setblocking(False)
            self._accepted(sock, _text(address))

    def crashed(self) -> None:
        """Keep listening: what raised belongs to one connection."""

    def close(self) -> None:
        """Accept no more; the parent keeps the socket, so that connects queue."""
        if self._open:
            self._open = False
            self._loop.close(self._sock)

    def _back_off(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            self._loop.log.warning("accept-paused", reason=reason)
        self._loop.unwatch(self._sock.fileno())
        self._loop.later(_PAUSE, self._again)

    def _again(self) -> None:
        if self._open:
            self._loop.watch(self._sock.fileno(), IN, self)


def tune(sock: socket.socket) -> None:
    """Send without delay, and find out within 36 s that an idle peer has vanished."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 7)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)


def _text(address: object) -> bytes:
    if isinstance(address, tuple) and address and isinstance(address[0], str):
        host = address[0].partition("%")[0]
        return host.removeprefix("::ffff:").encode("ascii")
    return b"unknown"
