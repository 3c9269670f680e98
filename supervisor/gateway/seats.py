"""The seats that are open through this gateway: who sits where, and how long nothing was heard."""

from __future__ import annotations

import secrets
from typing import Any, Protocol

from supervisor.gateway.sessions import Worker


class Holder(Protocol):
    """Whoever has a seat now: an exchange on its way to the worker, then a tunnel."""

    def end(self, code: int, reason: str) -> None:
        """End the session towards its visitor; code: of a WebSocket's close frame."""

    def listen(self) -> None:
        """Look whether the session has been silent: its limits may have changed."""

    def usage(self, now: float) -> tuple[float, float, int, int]:
        """Give the seconds since data of client and worker, and the bytes in and out."""


class Seat:
    """The room for one session in one worker, from the grant to the session's end.

    since: the loop's time of the grant.
    """

    __slots__ = ("holder", "name", "since", "visitor", "worker")

    def __init__(
        self, name: str, worker: Worker, visitor: str, since: float, holder: Holder
    ) -> None:
        self.name = name
        self.worker = worker
        self.visitor = visitor
        self.since = since
        self.holder: Holder | None = holder


class Seats:
    """Names for seats, the table of open ones, and those that ended since the last `activity`."""

    def __init__(self) -> None:
        self.gateway = secrets.token_hex(8)  # our own name: seats of two gateways never meet
        self.open: dict[str, Seat] = {}
        self._left: list[tuple[str, bool]] = []
        self._last = 0

    def name(self) -> str:
        """Make a name that was never used."""
        self._last += 1
        return f"{self.gateway}-{self._last}"

    def take(self, seat: Seat) -> None:
        """Note a seat that was granted, or is used while no core can grant it."""
        self.open[seat.name] = seat

    def leave(self, name: str, clean: bool) -> None:
        """Note the end of a seat; clean: closed in order, or never used."""
        seat = self.open.pop(name, None)
        if seat is not None:
            seat.holder = None
        self._left.append((name, clean))

    def take_left(self) -> list[tuple[str, bool]]:
        """Give the ends since the last call, each once."""
        left, self._left = self._left, []
        return left

    def picture(self, now: float) -> list[list[Any]]:
        """Give all open seats as `activity` carries them."""
        return [
            [seat.name, seat.worker.run, seat.visitor, round(now - seat.since, 1)]
            for seat in self.open.values()
        ]

    def usage(self, now: float) -> list[list[Any]]:
        """Give how all open seats are used, as `told` carries it."""
        return [
            [seat.name, *seat.holder.usage(now)]
            for seat in self.open.values()
            if seat.holder is not None
        ]
