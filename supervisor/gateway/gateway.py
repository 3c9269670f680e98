"""What all connections share: the table of workers, the link, the way out; and how it ends."""

from __future__ import annotations

import resource
import socket

from supervisor.gateway import activity
from supervisor.gateway.access import Access, RequestIds, Visit
from supervisor.gateway.connect import Caller, Connector
from supervisor.gateway.dial import UNACKNOWLEDGED
from supervisor.gateway.exchange import IDLE_SECONDS, Exchange
from supervisor.gateway.frames import RESTARTING
from supervisor.gateway.link import Asker, Link
from supervisor.gateway.listen import Listener
from supervisor.gateway.loop import Loop
from supervisor.gateway.proxies import Proxies
from supervisor.gateway.route import Site
from supervisor.gateway.seats import Seat, Seats
from supervisor.gateway.sessions import PIN_COOKIE, PIN_SECONDS, Pins, Sessions, Worker
from supervisor.gateway.stream import Stream
from supervisor.gateway.surroundings import Member
from supervisor.gateway.tunnel import Tunnel

_SPARE_FILES = 64  # descriptors for what is not a connection
_LAST_SECONDS = 5.0  # for clients to take our close frames, once the time to leave is over


class Gateway:
    """One gateway on one loop. proxies: whose word about their clients counts."""

    def __init__(
        self, loop: Loop, run_dir: str, server_address: str = "", *, proxies: Proxies | None = None
    ) -> None:
        self.loop = loop
        self.ids = RequestIds()
        self.proxies = proxies or Proxies()
        self.access: Access | None = None
        self.site = Site(server_address)
        self.sessions = Sessions()
        self.pins = Pins()
        self.seats = Seats()
        self.link = Link(loop, f"{run_dir}/link.sock", self.sessions, self.pins, self.seats)
        self.stopping = False  # accept no more, and keep no connection after its answer
        self._leaving = False  # and end with the last tunnel
        self._connector = Connector(loop, f"{run_dir}/core.sock", f"{run_dir}/helper-connect.sock")
        self._listeners: list[Listener] = []
        self._exchanges: set[Member] = set()
        self._tunnels: dict[Tunnel, Visit] = {}
        files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._most = max(1, (files - _SPARE_FILES) // 2)

    # Life

    def listen(self, sock: socket.socket, kind: type[Exchange] = Exchange) -> None:
        """Accept on an inherited listening socket; kind: what serves its connections."""

        def accepted(sock: socket.socket, address: bytes) -> None:
            self._accept(sock, kind(self, address))

        self._listeners.append(Listener(self.loop, sock, accepted, self._has_room))

    def stop(self, seconds: float) -> None:
        """Accept no more, finish the requests under way within `seconds`, then end the loop."""
        self._leaving = False
        self.loop.later(seconds, self.loop.stop)
        self._wind_up()

    def leave(self, seconds: float) -> None:
        """Let another gateway accept; end the loop with the last session, or after `seconds`.

        The listening sockets are that gateway's as well: ours are closed and not shut down. A
        later call sets a new limit where that is the earlier one.
        """
        self._leaving = self.link.leaving = True
        self.loop.later(seconds, self._expel)
        self._wind_up()

    def _wind_up(self) -> None:
        self.stopping = True
        for listener in self._listeners:
            listener.close()
        for exchange in list(self._exchanges):
            exchange.retire()
        self._end_if_done()

    def _expel(self) -> None:
        """End what is left when the time to leave is over: clients come back to another gateway."""
        for tunnel in list(self._tunnels):
            tunnel.end(RESTARTING, "The server was renewed; please connect again.")
        for exchange in list(self._exchanges):
            exchange.close()
        self.loop.later(_LAST_SECONDS, self.loop.stop)

    def _end_if_done(self) -> None:
        if self.stopping and not self._exchanges and not (self._leaving and self._tunnels):
            self.loop.stop()

    def _has_room(self) -> bool:
        return len(self._exchanges) + len(self._tunnels) < self._most

    def _accept(self, sock: socket.socket, exchange: Exchange) -> None:
        exchange.client = Stream(self.loop, sock, exchange)
        self._exchanges.add(exchange)
        self.loop.within(exchange, IDLE_SECONDS)

    def last_words(self) -> None:
        """Put into the access log what is still open when the process ends."""
        if self.access is not None:
            for tunnel, visit in self._tunnels.items():
                self.access.note(visit, 101, tunnel.bytes_out)
            self.access.close()

    # For the exchanges

    @property
    def wait(self) -> int:
        """Seconds that a request may wait for a worker."""
        return self.link.wait

    @property
    def core_is_near(self) -> bool:
        """Whether the core speaks to us."""
        return self.link.up

    def ask(
        self,
        asker: Asker,
        guid: bytes,
        want: str,
        visitor: str,
        run: str | None,
        seat: str | None = None,
        *,
        request: str = "",
    ) -> None:
        """Ask the core; `answered` is called. seat: the name of the seat that is asked for.

        request: the id of the request, for the core's log.
        """
        self.link.ask(asker, guid, want, visitor, run, seat, request=request)

    def await_core(self, asker: Asker) -> None:
        """Let `core_came` be called once the first core has said hello."""
        self.link.await_core(asker)

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

    def declares(self, worker: Worker, value: bytes) -> None:
        """Note what a worker has said of its work in the head of an answer, and tell the core."""
        worker.busy = activity.word(value), self.loop.now
        self.changed(worker)

    def vacate(self, seat: str, clean: bool) -> None:
        """Tell the core that a seat is free; clean: closed in order, or never used."""
        self.link.vacate(seat, clean)

    def silent(self, seat: str, which: str, seconds: float) -> None:
        """Tell the core that a session was silent over its worker's limit `which`."""
        self.link.silent(seat, which, seconds)

    def pin(self, guid: bytes, run: str, visitor: str) -> bytes:
        """Sign that this visitor belongs to this run."""
        return self.pins.sign(guid, run, visitor, int(self.loop.wall) + PIN_SECONDS)

    def pin_cookie(self, guid: bytes, run: str, visitor: str) -> bytes:
        """Make the Set-Cookie value that sends this visitor back to this run."""
        pin = self.pin(guid, run, visitor)
        secure = b"; Secure" if self.site.secure else b""
        path = self.site.prefix(guid)
        return b"%b=%b; Path=%b/; HttpOnly; SameSite=Lax%b" % (PIN_COOKIE, pin, path, secure)

    def tunnel(
        self,
        client: Stream,
        upstream: Stream,
        worker: Worker | None,
        seat: Seat | None,
        visit: Visit,
    ) -> None:
        """Join two streams of an exchange that is over; seat and visit go with them."""
        client.give_up_after(UNACKNOWLEDGED)
        self._tunnels[Tunnel(self.loop, client, upstream, worker, self, seat)] = visit
        if worker is not None:
            worker.sockets += 1
            self.changed(worker)

    def untunnel(self, tunnel: Tunnel) -> None:
        """Learn that a tunnel is closed."""
        visit = self._tunnels.pop(tunnel)
        self.answered(101)
        if self.access is not None:
            self.access.note(visit, 101, tunnel.bytes_out)
        worker = tunnel.worker
        if worker is not None:
            worker.sockets -= 1
            self.changed(worker)
        self._end_if_done()

    def answered(self, status: int) -> None:
        """Count an answer, and tell the core soon."""
        self.link.answers[status // 100] += 1
        self.link.report()

    def left(self, exchange: Member) -> None:
        """Learn that an exchange is over."""
        self._exchanges.discard(exchange)
        self._end_if_done()
