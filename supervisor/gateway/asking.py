"""The question to the core, and the seat that its answer grants; sans-IO."""

from __future__ import annotations

import socket
from typing import Any

from supervisor.gateway import verdicts
from supervisor.gateway.answering import ASKING, DONE, Answering
from supervisor.gateway.head import Request
from supervisor.gateway.loop import NEVER
from supervisor.gateway.rewrite import pins
from supervisor.gateway.route import Kind
from supervisor.gateway.seats import Seat
from supervisor.gateway.sessions import PIN_SECONDS, Pin, Worker

_WAIT_SECONDS = 25  # for an answer to `wait`, which takes up to 20
_MARGIN = 1  # second by which the core's word that a start took too long comes before ours


class Asking(Answering):
    """Who the visitor is, what the core says, and the seat until a tunnel has it."""

    __slots__ = ()

    # Filled in by Dispatch and Exchange

    def retire(self) -> None:
        """Take no further request: close now where none is under way or about to come."""
        raise NotImplementedError

    def _dispatch(self, request: Request) -> None:
        raise NotImplementedError

    def _go(self, worker: Worker | None) -> None:
        raise NotImplementedError

    def plugged(self, sock: socket.socket) -> None:
        """Take the connection that `open` was asked for."""
        raise NotImplementedError

    def unconnected(self, code: str, reason: str) -> None:
        """Learn that no connection could be made."""
        raise NotImplementedError

    def overdue(self) -> None:
        """End what takes too long."""
        raise NotImplementedError

    # The visitor

    def _pin(self, request: Request) -> Pin | None:
        found = pins(request)
        gateway = self.gateway
        return gateway.pins.first(self.guid, found, gateway.loop.wall) if found else None

    # The question

    def _ask(self, want: str, run: str | None) -> None:
        gateway = self.gateway
        self._pause_for(max(gateway.wait, _WAIT_SECONDS) if want == "wait" else gateway.wait)
        self.seat_name = gateway.seats.name() if want == "socket" else ""
        seat = self.seat_name or None
        name = self.name.decode("ascii")
        gateway.ask(self, self.guid, want, self.visitor, run, seat, request=name)

    def _await_core(self) -> None:
        """Keep a request whose pin cannot be judged until the first core has told its key."""
        self._pause_for(self.gateway.wait)
        self.gateway.await_core(self)

    def _pause_for(self, seconds: int) -> None:
        self.answering = ASKING
        if self.reading != DONE:
            self.client.pause()
        self.gateway.loop.within(self, seconds + _MARGIN)

    def core_came(self) -> None:
        """Judge the pin that could not be judged before."""
        assert self.request is not None
        self.deadline = NEVER
        self._dispatch(self.request)

    def core_left(self) -> None:
        """Follow the pin, where there is a good one, since the core left without an answer."""
        assert self.request is not None
        pin = self._pin(self.request)
        worker = self.gateway.sessions.workers.get(pin.run) if pin is not None else None
        if worker is not None and worker.guid == self.guid and self.kind is Kind.CONTENT:
            self.gateway.forget(self)
            self._to_worker(worker)

    def answered(self, message: dict[str, Any]) -> None:
        """Take the core's answer to our question."""
        worker = None
        granted = message.get("as") == "worker"
        if granted:
            worker = self.gateway.sessions.workers.get(str(message.get("run")))
        if self.kind is Kind.WAIT:
            self.answer(verdicts.wait(message, worker is not None))
        elif worker is not None and worker.guid == self.guid:
            self._renew_pin(worker)
            self._to_worker(worker)
        else:
            if granted and self.seat_name:
                self.gateway.vacate(self.seat_name, True)
            self.answer(self._verdict(message))

    def _to_worker(self, worker: Worker) -> None:
        self.deadline = NEVER
        if self.seat_name:
            self._sit(self.seat_name, worker)
        self._go(worker)

    def _renew_pin(self, worker: Worker) -> None:
        """Send a pin with the answer, where the visitor has none of this run or it is old."""
        assert self.request is not None
        gateway = self.gateway
        pin = self._pin(self.request)
        aged = gateway.loop.wall + PIN_SECONDS / 2
        if pin is None or pin.run != worker.run or pin.expires < aged:
            self.cookie = gateway.pin_cookie(self.guid, worker.run, self.visitor)

    # The seat

    def _sit(self, name: str, worker: Worker) -> None:
        gateway = self.gateway
        self.seat = Seat(name, worker, self.visitor, gateway.loop.now, self)
        gateway.seats.take(self.seat)

    def end(self, code: int, reason: str) -> None:
        """Refuse a WebSocket whose seat the core takes back before it is open."""
        if self.seat is not None:
            self.answer(self._verdict({"as": "unavailable", "reason": reason, "retry": None}))

    def listen(self) -> None:
        """Nothing is silent that is not open yet."""

    def usage(self, now: float) -> tuple[float, float, int, int]:
        """Give the age of the seat twice, and no bytes."""
        age = round(now - self.seat.since, 1) if self.seat is not None else 0.0
        return age, age, 0, 0
