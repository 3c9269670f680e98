"""A tunnel passes bytes, stops where the other side is slow, and ends with both."""

from __future__ import annotations

from typing import Any, cast

from supervisor.gateway.loop import Loop
from supervisor.gateway.stream import Stream
from supervisor.gateway.tunnel import Tunnel


class Recorder:
    """A stream that records; `fits` says whether the peer takes what is sent."""

    def __init__(self) -> None:
        self.sink: Any = None
        self.sent = b""
        self.fits = True
        self.unsent: bytearray | None = None
        self.paused = False
        self.ended = False
        self.finished = False
        self.closed = False

    def send(self, data: Any) -> bool:
        self.sent += bytes(data)
        if not self.fits:
            self.unsent = bytearray(data)
        return self.fits

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        self.closed = True


class NoLoop:
    now = 0.0

    def within(self, timed: Any, seconds: int) -> None:
        timed.deadline = seconds


def make() -> tuple[Tunnel, Recorder, Recorder, list[str]]:
    client, upstream, closed = Recorder(), Recorder(), list[str]()
    tunnel = Tunnel(
        cast(Loop, NoLoop()),
        cast(Stream, client),
        cast(Stream, upstream),
        None,
        lambda tunnel: closed.append("closed"),
    )
    return tunnel, client, upstream, closed


def test_a_slow_side_stops_the_other() -> None:
    tunnel, client, upstream, _ = make()
    client.fits = False
    tunnel.received(cast(Stream, upstream), memoryview(b"abc"))
    assert (b"abc", True) == (client.sent, upstream.paused)
    client.unsent = None
    tunnel.drained(cast(Stream, client))
    assert not upstream.paused
    tunnel.received(cast(Stream, client), memoryview(b"xyz"))
    assert (b"xyz", False) == (upstream.sent, client.paused)


def test_an_end_is_passed_on_and_the_second_one_closes() -> None:
    tunnel, client, upstream, closed = make()
    upstream.ended = True
    tunnel.ended(cast(Stream, upstream))
    assert (True, False, []) == (client.finished, client.closed, closed)
    assert 30 == tunnel.deadline
    client.ended = True
    tunnel.ended(cast(Stream, client))
    tunnel.close()
    assert (True, True, ["closed"]) == (client.closed, upstream.closed, closed)


def test_the_last_bytes_to_a_slow_client_are_not_cut_off() -> None:
    tunnel, client, upstream, closed = make()
    client.fits = False
    tunnel.received(cast(Stream, upstream), memoryview(b"bye"))
    client.ended = upstream.ended = True
    tunnel.ended(cast(Stream, upstream))
    assert [] == closed
    client.unsent = None
    tunnel.drained(cast(Stream, client))
    assert ["closed"] == closed


def test_a_client_that_vanished_closes_a_worker_that_vanished_is_read_out() -> None:
    tunnel, _, upstream, closed = make()
    tunnel.vanished(cast(Stream, upstream))
    assert [] == closed
    tunnel.vanished(tunnel.client)
    assert ["closed"] == closed


def test_what_does_not_end_is_ended_in_time() -> None:
    tunnel, _, _, closed = make()
    tunnel.overdue()
    assert (["closed"], -1) == (closed, tunnel.deadline)
