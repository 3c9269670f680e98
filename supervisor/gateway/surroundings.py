"""What an exchange may ask of the gateway that it belongs to, and what that may ask of it."""

from __future__ import annotations

from typing import Protocol

from supervisor.gateway.access import Access, RequestIds, Visit
from supervisor.gateway.connect import Caller
from supervisor.gateway.link import Asker
from supervisor.gateway.loop import Loop
from supervisor.gateway.proxies import Proxies
from supervisor.gateway.route import Site
from supervisor.gateway.seats import Seat, Seats
from supervisor.gateway.sessions import Pins, Sessions, Worker
from supervisor.gateway.stream import Stream


class Member(Asker, Caller, Protocol):
    """An exchange, as its surroundings know it."""

    def retire(self) -> None:
        """Take no further request: close now where none is under way or about to come."""

    def close(self) -> None:
        """Close both streams and forget the request. Closing twice is fine."""


class Surroundings(Protocol):
    """What all connections share. Gateway is it; tests of the sans-IO parts record the calls."""

    loop: Loop
    site: Site
    sessions: Sessions
    pins: Pins
    seats: Seats
    ids: RequestIds
    proxies: Proxies
    access: Access | None  # the access log, if there is one
    stopping: bool

    @property
    def wait(self) -> int:
        """Seconds that a request may wait for a worker."""

    @property
    def core_is_near(self) -> bool:
        """Whether the core speaks to us."""

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

    def await_core(self, asker: Asker) -> None:
        """Let `core_came` be called once the first core has said hello."""

    def open(self, worker: Worker | None, caller: Caller) -> None:
        """Connect; `plugged` or `unconnected` is called, perhaps at once."""

    def forget(self, exchange: Member) -> None:
        """Answer no question and open no connection for this exchange any more."""

    def unreachable(self, worker: Worker, reason: str) -> None:
        """Tell the core that a worker cannot be connected to."""

    def retry(self, guid: bytes) -> None:
        """Tell the core that a visitor asks for another try of a content that failed."""

    def changed(self, worker: Worker) -> None:
        """Note that a worker's counts have changed."""

    def declares(self, worker: Worker, value: bytes) -> None:
        """Note what a worker has said of its work in the head of an answer."""

    def vacate(self, seat: str, clean: bool) -> None:
        """Tell the core that a seat is free; clean: closed in order, or never used."""

    def pin(self, guid: bytes, run: str, visitor: str) -> bytes:
        """Sign that this visitor belongs to this run."""

    def pin_cookie(self, guid: bytes, run: str, visitor: str) -> bytes:
        """Make the Set-Cookie value that sends this visitor back to this run."""

    def tunnel(
        self,
        client: Stream,
        upstream: Stream,
        worker: Worker | None,
        seat: Seat | None,
        visit: Visit,
    ) -> None:
        """Join two streams of an exchange that is over; seat and visit go with them."""

    def answered(self, status: int) -> None:
        """Count an answer."""

    def left(self, exchange: Member) -> None:
        """Learn that an exchange is over."""
