"""What all connections share: the table of workers, the link, the way out; and how it ends."""

from __future__ import annotations

import resource
import socket

from supervisor.gateway.connect import Caller, Connector
from supervisor.gateway.exchange import IDLE_SECONDS, Exchange
from supervisor.gateway.link import Asker, Link
from supervisor.gateway.listen import Listener
from supervisor.gateway.loop import Loop
from supervisor.gateway.route import Site
from supervisor.gateway.sessions import PIN_COOKIE, PIN_SECONDS, Pins, Sessions, Worker
from supervisor.gateway.stream import Stream
from supervisor.gateway.surroundings import Member
from supervisor.gateway.tunnel import Tunnel

_SPARE_FILES = 64  # descriptors for what is not a connection


class Gateway:
    """One gateway on one loop."""

    def __init__(self, loop: Loop, run_dir: str, server_address: str = "") -> None:
        self.loop = loop
        self.site = Site(server_address)
        self.sessions = Sessions()
        self.pins = Pins()
        self.link = Link(loop, f"{run_dir}/link.sock", self.sessions, self.pins)
        self.stopping = False
        self._connector = Connector(loop, f"{run_dir}/core.sock", f"{run_dir}/helper-connect.sock")
        self._listeners: list[Listener] = []
        self._exchanges: set[Member] = set()
        self._tunnels: set[Tunnel] = set()
        self._on_untunnel = self._untunnel  # one bound method for all tunnels
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(1, (files - _SPARE_FILES) // 2)

    # Life

    def listen(self, sock: socket.socket) -> None:
        """Accept on an inherited listening socket."""
        self._listeners.append(Listener(self.loop, sock, self._accept, self._has_room))

    def stop(self, seconds: float) -> None:
        """Accept no more, finish what is open within `seconds`, then end the loop."""
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        self.loop.later(seconds, self.loop.stop)
        for exchange in list(self._exchanges):
            if exchange.idle:
                exchange.close()
        if not self._exchanges:
            self.loop.stop()

    def _has_room(self) -> bool:
        return len(self._exchanges) + len(self._tunnels) < self._most

    def _accept(self, sock: socket.socket, address: bytes) -> None:
        exchange = Exchange(self, address)
        exchange.client = Stream(self.loop, sock, exchange)
        self._exchanges.add(exchange)
        self.loop.within(exchange, IDLE_SECONDS)

    # For the exchanges

    @property
    def wait(self) -> int:
        """Seconds that a request may wait for a worker."""
        return self.link.wait

    @property
    def core_is_near(self) -> bool:
        """Whether the core speaks to us."""
        return self.link.up

    def ask(self, asker: Asker, guid: bytes, want: str, visitor: str, run: str | None) -> None:
        """Ask the core; `answered` is called."""
        self.link.ask(asker, guid, want, visitor, run)

    def open(self, worker: Worker | None, caller: Caller) -> None:
        """Connect; `plugged` or `unconnected` is called, perhaps at once."""
        self._connector.open(worker, caller)

    def forget(self, exchange: Member) -> None:
        """Answer no question and open no connection for this exchange any more."""
        self.link.forget(exchange)
        self._connector.forget(exchange)

    def unreachable(self, worker: Worker, reason: str) -> None:
        """Tell the core that a worker cannot be connected to."""
        self.link.unreachable(worker, reason)

    def retry(self, guid: bytes) -> None:
        """Tell the core that a visitor asks for another try of a content that failed."""
        self.link.retry(guid)

    def changed(self, worker: Worker) -> None:
        """Note that a worker's counts have changed."""
        changed = self.sessions.changed
        if worker not in changed:
            changed.add(worker)
            self.link.report()

    def pin_cookie(self, guid: bytes, run: str, visitor: str) -> bytes:
        """Make the Set-Cookie value that sends this visitor back to this run."""
        expires = int(self.loop.wall) + PIN_SECONDS
        pin = self.pins.sign(guid, run, visitor, expires)
        secure = b"; Secure" if self.site.secure else b""
        path = self.site.prefix(guid)
        return b"%b=%b; Path=%b/; HttpOnly; SameSite=Lax%b" % (PIN_COOKIE, pin, path, secure)

    def tunnel(self, client: Stream, upstream: Stream, worker: Worker | None) -> None:
        """Join two streams of an exchange that is over."""
        self._tunnels.add(Tunnel(self.loop, client, upstream, worker, self._on_untunnel))
        if worker is not None:
            worker.sockets += 1
            self.changed(worker)

    def _untunnel(self, tunnel: Tunnel) -> None:
        self._tunnels.discard(tunnel)
        worker = tunnel.worker
        if worker is not None:
            worker.sockets -= 1
            self.changed(worker)

    def left(self, exchange: Member) -> None:
        """Learn that an exchange is over."""
        self._exchanges.discard(exchange)
        if self.stopping and not self._exchanges:
            self.loop.stop()
