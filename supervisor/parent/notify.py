"""Tell the service manager how we are: sd_notify by $NOTIFY_SOCKET."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Send states to a notification socket (a path, or `@name` in the abstract namespace).

    address None: nobody wants to know. watchdog_seconds: how often it must hear from us, or None.
    """

    def __init__(self, address: str | None, *, watchdog_seconds: float | None = None) -> None:
        self._address = address
        self._interval = watchdog_seconds / 2 if watchdog_seconds and address else None
        self._next = 0.0

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Notifier:
        """Read what the service manager put into the environment."""
        watchdog = environ.get("WATCHDOG_USEC", "")
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        seconds = int(watchdog) / 1e6 if watchdog.isdecimal() and ours else None
        return cls(environ.get("NOTIFY_SOCKET") or None, watchdog_seconds=seconds)

    def ready(self) -> None:
        """Say that the server serves."""
        self._send(f"READY=1\nMAINPID={os.getpid()}\nSTATUS=Serving")

    def reloading(self) -> None:
        """Say that the server replaces itself; `ready` ends it."""
        now = time.monotonic_ns() // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=Reloading")

    def stopping(self) -> None:
        """Say that an ordered stop has begun."""
        self._send("STOPPING=1\nSTATUS=Stopping")

    def watchdog(self, now: float) -> None:
        """Say that we live, where it is time to."""
        if self._interval is not None and now >= self._next:
            self._next = now + self._interval
            self._send("WATCHDOG=1")

    def next_watchdog(self) -> float | None:
        """Give the moment of the next sign of life, None where nobody waits for one."""
        return self._next if self._interval is not None else None

    def _send(self, state: str) -> None:
        if self._address is None:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(OSError):
            # a service manager that does not listen is no reason to stop
            sock.sendto(state.encode(), socket.MSG_DONTWAIT, address)
