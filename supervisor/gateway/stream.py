"""One non-blocking stream socket: bytes to its sink, bytes from anybody, back-pressure."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Protocol

from supervisor.gateway.loop import GONE, IN, OUT, Loop

PIECE = 64 * 1024
_BUFFER = bytearray(PIECE)  # one for all: what a sink keeps, it copies
_VIEW = memoryview(_BUFFER)


class Sink(Protocol):
    """Whoever a stream's bytes go to."""

    def received(self, stream: Stream, data: memoryview) -> None:
        """Take bytes; the view is valid only during the call."""

    def ended(self, stream: Stream) -> None:
        """Learn that no byte will follow (the peer has ended its side, or is gone)."""

    def drained(self, stream: Stream) -> None:
        """Learn that all that was sent has left."""

    def vanished(self, stream: Stream) -> None:
        """Learn that the peer is gone both ways while nobody was reading."""

    def crashed(self) -> None:
        """Let go of everything."""


class Stream:
    """A socket within the loop. Reading until paused; closed at once or after the last byte."""

    __slots__ = ("_finishing", "_loop", "_mask", "_sock", "ended", "fd", "paused", "sink", "unsent")

    def __init__(self, loop: Loop, sock: socket.socket, sink: Sink) -> None:
        self._loop = loop
        self._sock = sock
        self.unsent: bytearray | None = None  # what was sent and has not left yet
        self._mask = IN  # 0: watched for the peer's disappearance alone; -1: not watched at all
        self._finishing = False
        self.sink = sink
        self.ended = False
        self.paused = False
        self.fd = sock.fileno()
        loop.watch(self.fd, IN, self)

    def send(self, data: bytes | memoryview) -> bool:
        """Send, or keep what does not fit. False asks the caller to stop until `drained`."""
        if self.unsent is not None:
            self.unsent += data
            return False
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            return True  # the reading side learns that the peer is gone
        if sent == len(data):
            return True
        self._keep(memoryview(data)[sent:])
        return False

    def send_all(self, pieces: Sequence[bytes | memoryview]) -> bool:
        """Send several pieces as one, without joining them."""
        if self.unsent is None:
            try:
                sent = self._sock.sendmsg(pieces)
            except BlockingIOError:
                sent = 0
            except OSError:
                return True
        else:
            sent = 0
        for piece in pieces:
            if sent >= len(piece):
                sent -= len(piece)
            elif self.unsent is not None:
                self.unsent += memoryview(piece)[sent:]
                sent = 0
            else:
                self._keep(memoryview(piece)[sent:])
                sent = 0
        return self.unsent is None

    def pause(self) -> None:
        """Read no more for now."""
        self.paused = True
        if self._mask > 0 and self._mask & IN:
            self._watch(self._mask & ~IN)

    def resume(self) -> None:
        """Read again; after the end there is nothing to read."""
        self.paused = False
        if not self.ended and (self._mask < 0 or not self._mask & IN):
            self._watch((self._mask if self._mask > 0 else 0) | IN)

    def finish(self) -> None:
        """Send what is kept, then end our side and drop what still comes in."""
        self._finishing = True
        if self.unsent is None:
            self._shut()

    def has_input(self) -> bool:
        """Say whether bytes have come that nobody has read yet."""
        try:
            return bool(self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except OSError:
            return False

    def give_up_after(self, milliseconds: int) -> None:
        """Take the peer for gone once it has acknowledged nothing for so long."""
        try:
            self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)
        except OSError:
            return  # not TCP: a peer on this machine does not vanish without a word

    def close(self) -> None:
        """Close at once; what is kept is lost. Closing twice is fine."""
        if self.fd >= 0:
            self._loop.close(self._sock)
            self.fd = -1
            self.unsent = None
            self.ended = True
            self._mask = -1

    def event(self, mask: int) -> None:
        """Deal with what epoll says about the socket."""
        if mask & OUT:
            self._flush()
        if self.fd < 0 or not mask & ~OUT:
            return
        if not self._mask & IN or self._mask < 0:
            if mask & GONE and self._mask >= 0:
                self._vanish()
            return
        try:
            count = self._sock.recv_into(_BUFFER)
        except BlockingIOError:
            return
        except OSError:
            count = 0
        if count:
            self.sink.received(self, _VIEW[:count])
        else:
            self.ended = True
            self._watch(self._mask & ~IN)
            self.sink.ended(self)

    def crashed(self) -> None:
        """Pass on that a callback raised."""
        self.sink.crashed()
        self.close()

    def _keep(self, rest: memoryview) -> None:
        self.unsent = bytearray(rest)
        if self.fd >= 0:
            self._watch((self._mask if self._mask > 0 else 0) | OUT)

    def _flush(self) -> None:
        out = self.unsent
        if out is None:
            return
        try:
            sent = self._sock.send(out)
        except BlockingIOError:
            return
        except OSError:
            sent = len(out)
        if sent < len(out):
            del out[:sent]
            return
        self.unsent = None
        self._watch(self._mask & ~OUT)
        if self._finishing:
            self._shut()
        if self.fd >= 0:
            self.sink.drained(self)

    def _shut(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._vanish()

    def _vanish(self) -> None:
        """Stop watching a peer that is gone: epoll would report it for ever."""
        if self._mask >= 0:
            self._loop.unwatch(self.fd)
            self._mask = -1
        had = self.unsent is not None
        self.unsent = None
        if had:
            self.sink.drained(self)
        if self.fd >= 0:
            self.sink.vanished(self)

    def _watch(self, mask: int) -> None:
        if self._mask < 0:
            self._loop.watch(self.fd, mask, self)
        else:
            self._loop.change(self.fd, mask)
        self._mask = mask
