"""After 101: raw bytes both ways, with back-pressure and half-closes, sans-IO."""

from __future__ import annotations

from collections.abc import Callable

from supervisor.gateway.loop import GONE_FOR_GOOD, NEVER, Loop
from supervisor.gateway.sessions import Worker
from supervisor.gateway.stream import Stream

_FAREWELL = 30  # seconds for the second side to end after the first


class Tunnel:
    """Two streams that are each other's sink. At most one piece is kept in each direction."""

    __slots__ = ("_loop", "_on_close", "client", "deadline", "slot", "upstream", "worker")

    def __init__(
        self,
        loop: Loop,
        client: Stream,
        upstream: Stream,
        worker: Worker | None,
        on_close: Callable[[Tunnel], None],
    ) -> None:
        """worker: whose socket this is, None for the core's; on_close: called once."""
        self._loop = loop
        self._on_close: Callable[[Tunnel], None] | None = on_close
        self.worker = worker
        self.client = client
        self.upstream = upstream
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

    def received(self, stream: Stream, data: memoryview) -> None:
        """Pass bytes on."""
        other = self.upstream if stream is self.client else self.client
        if not other.send(data):
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
        other = self.upstream if stream is self.client else self.client
        other.finish()
        if other.ended:
            self._over()
        else:
            self._loop.within(self, _FAREWELL)

    def vanished(self, stream: Stream) -> None:
        """Close for a visitor that is gone; a worker that is gone may have left bytes to read."""
        if stream is self.client or stream.ended:
            self._over()

    def overdue(self) -> None:
        """Close: the second side had its time to end."""
        self.close()

    def crashed(self) -> None:
        """Let go of both sides."""
        self.close()

    def _over(self) -> None:
        if self.client.unsent is None:
            self.close()
        else:
            self._loop.within(self, _FAREWELL)

    def close(self) -> None:
        """Close both sides. Closing twice is fine."""
        self.deadline = GONE_FOR_GOOD
        self.client.close()
        self.upstream.close()
        if self._on_close is not None:
            call, self._on_close = self._on_close, None
            call(self)
