"""One TCP connection to a worker on another machine: made by the loop, within a time limit."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable

from supervisor.gateway.listen import tune
from supervisor.gateway.loop import OUT, Loop

UNACKNOWLEDGED = 28_000  # milliseconds after which a peer that says nothing is taken for gone

Connected = Callable[[socket.socket], None]
Failed = Callable[[str], None]


class Dial:
    """Connect to an address and say the secret; told exactly once, unless cancelled."""

    def __init__(
        self,
        loop: Loop,
        address: tuple[str, int],
        secret: str,
        seconds: float,
        connected: Connected,
        failed: Failed,
    ) -> None:
        """address: host, as numbers, and port; secret: "" where the worker asks for none."""
        self._loop = loop
        self._secret = secret
        self._connected = connected
        self._failed = failed
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.socket(
            family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
        tune(self._sock)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED)
        number = self._sock.connect_ex(address)
        if number in (0, errno.EINPROGRESS):
            loop.watch(self._sock.fileno(), OUT, self)
            reason = f"no connection within {seconds:g} seconds"
        else:  # not told from here: whoever dials has not got us yet
            reason, seconds = os.strerror(number), 0.0
        self._timer = loop.later(seconds, lambda: self._fail(reason))

    def event(self, mask: int) -> None:
        """Learn how it went."""
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._fail(os.strerror(number))
            return
        try:
            if self._secret:
                self._sock.send(b"supervisor %b\n" % self._secret.encode("ascii"))
        except OSError as error:
            self._fail(error.strerror or "it closed the connection")
            return
        self._timer.cancel()
        self._loop.unwatch(self._sock.fileno())
        self._connected(self._sock)

    def crashed(self) -> None:
        """Nothing is left to let go of: the socket is another's, or closed."""

    def cancel(self) -> None:
        """Connect no more, and tell nobody."""
        self._timer.cancel()
        self._loop.close(self._sock)

    def _fail(self, reason: str) -> None:
        self.cancel()
        self._failed(reason)
