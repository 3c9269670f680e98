"""After 101: raw bytes both ways, with back-pressure and half-closes, sans-IO."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from supervisor.gateway.frames import CLOSE, GOING_AWAY, PONG, Chunk, classify, close_frame
from supervisor.gateway.loop import GONE_FOR_GOOD, NEVER, Loop
from supervisor.gateway.seats import Seat
from supervisor.gateway.sessions import Worker
from supervisor.gateway.stream import Stream

_FAREWELL = 30  # seconds for the second side to end after the first
_LAST_WORDS = 5  # seconds for a client to take our close frame
_SAID_AGAIN = 60  # seconds between two reports of one silence
_NOTHING_SAID: Mapping[str, float] = MappingProxyType({})


class Owner(Protocol):
    """Whoever keeps account of tunnels."""

    def vacate(self, seat: str, clean: bool) -> None:
        """Learn that a seat is free: its client has ended, or the whole tunnel."""

    def silent(self, seat: str, which: str, seconds: float) -> None:
        """Learn that a session was silent over its worker's limit `which`."""

    def untunnel(self, tunnel: Tunnel) -> None:
        """Learn that both sides are closed; called once."""


class Tunnel:
    """Two streams that are each other's sink. At most one piece is kept in each direction.

    client_at, worker_at: the loop's time of the last data of each side, where control frames are
    no data; bytes_in, bytes_out: all bytes of each side.
    """

    __slots__ = (
        "_closed_at", "_ending", "_loop", "_owner", "_said", "bytes_in", "bytes_out", "client",
        "client_at", "deadline", "seat", "slot", "upstream", "worker", "worker_at",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        client: Stream,
        upstream: Stream,
        worker: Worker | None,
        owner: Owner,
        seat: Seat | None = None,
    ) -> None:
        """worker: whose socket this is, None for the core's; seat: of a session in a worker."""
        self._loop = loop
        self._owner: Owner | None = owner
        self._ending = False
        self._said = _NOTHING_SAID
        self._closed_at = -1  # bytes_in after the client's close frame
        self.worker = worker
        self.seat = seat
        self.client = client
        self.upstream = upstream
        self.bytes_in = self.bytes_out = 0
        self.client_at = self.worker_at = loop.now
        self.deadline = NEVER
        self.slot = NEVER
        client.sink = upstream.sink = self
        if client.unsent is not None:
            upstream.pause()
        else:
            upstream.resume()
        if upstream.unsent is not None:
            client.pause()
        else:
            client.resume()
        if seat is not None:
            seat.holder = self
            self.listen()

    # Bytes and ends

    def received(self, stream: Stream, data: memoryview) -> None:
        """Pass bytes on."""
        if stream is self.client:
            self.bytes_in += len(data)
            if CLOSE <= data[0] <= PONG:
                self._perhaps_control(data)
            else:
                self.client_at = self._loop.now
            fits = self.upstream.send(data)
        else:
            self.bytes_out += len(data)
            if not CLOSE <= data[0] <= PONG or classify(data) is Chunk.DATA:
                self.worker_at = self._loop.now
            fits = self.client.send(data)
        if not fits:
            stream.pause()

    def drained(self, stream: Stream) -> None:
        """Read the other side again."""
        other = self.upstream if stream is self.client else self.client
        if stream.ended and other.ended:
            self.close()
        else:
            other.resume()

    def ended(self, stream: Stream) -> None:
        """Pass the end on; the tunnel is over when both sides have ended."""
        if stream is self.client:
            self._vacate()  # a worker that computes may take long to end its side
        other = self.upstream if stream is self.client else self.client
        other.finish()
        if other.ended:
            self._over()
        else:
            self._end_within(_FAREWELL)

    def vanished(self, stream: Stream) -> None:
        """Close for a visitor that is gone; a worker that is gone may have left bytes to read."""
        if stream is self.client or stream.ended:
            self._over()

    def _perhaps_control(self, data: memoryview) -> None:
        chunk = classify(data)
        if chunk is Chunk.DATA:
            self.client_at = self._loop.now
        elif chunk is Chunk.CLOSE:
            self._closed_at = self.bytes_in

    # Silence

    def listen(self) -> None:
        """Report a silence that is over the worker's limits, and look again when one may be."""
        if self.worker is None or self.seat is None or self._ending:
            return
        either = max(self.client_at, self.worker_at)
        pause = min(
            self._hear("connection", self.worker.connection, either),
            self._hear("read", self.worker.read, self.client_at),
        )
        if pause < NEVER:
            self._loop.within(self, math.ceil(pause))

    def _hear(self, which: str, limit: float, heard: float) -> float:
        """Give the seconds until to look again."""
        now = self._loop.now
        if not limit:
            return NEVER
        if now - heard < limit:
            return limit - (now - heard)
        said = self._said.get(which, -math.inf)
        if said < heard or now - said >= _SAID_AGAIN:
            self._said = {**self._said, which: now}
            assert self._owner is not None
            assert self.seat is not None
            self._owner.silent(self.seat.name, which, round(now - heard, 1))
            said = now
        return min(limit, _SAID_AGAIN - (now - said))

    def usage(self, now: float) -> tuple[float, float, int, int]:
        """Give the seconds since data of client and worker, and the bytes in and out."""
        client, worker = round(now - self.client_at, 1), round(now - self.worker_at, 1)
        return client, worker, self.bytes_in, self.bytes_out

    # The end

    def end(self, code: int, reason: str) -> None:
        """End the session towards its client by a close frame; a second call does it at once."""
        if self._ending:
            self.close()
            return
        self._closed_at = self.bytes_in if code == GOING_AWAY else -1
        self._vacate()
        self._end_within(_LAST_WORDS)
        self.client.send(close_frame(code, reason))
        self.upstream.close()
        self.client.resume()
        self.client.finish()

    def overdue(self) -> None:
        """Close what had its time to end; else see whether somebody has been silent."""
        if self._ending:
            self.close()
        else:
            self.listen()

    def crashed(self) -> None:
        """Let go of both sides."""
        self.close()

    def close(self) -> None:
        """Close both sides. Closing twice is fine."""
        self.deadline = GONE_FOR_GOOD
        self._ending = True
        self._vacate()
        self.client.close()
        self.upstream.close()
        if self._owner is not None:
            owner, self._owner = self._owner, None
            owner.untunnel(self)

    def _over(self) -> None:
        if self.client.unsent is None:
            self.close()
        else:
            self._end_within(_FAREWELL)

    def _end_within(self, seconds: int) -> None:
        self._ending = True
        self._loop.within(self, seconds)

    def _vacate(self) -> None:
        """Give the seat back; in order where the last that the client sent was a close frame."""
        if self.seat is not None:
            seat, self.seat = self.seat, None
            assert self._owner is not None
            self._owner.vacate(seat.name, self._closed_at == self.bytes_in)
