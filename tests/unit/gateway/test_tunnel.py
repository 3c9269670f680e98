"""A tunnel passes bytes, stops where the other side is slow, and ends with both."""

from __future__ import annotations

from typing import Any, cast

import pytest

from supervisor.gateway.frames import GOING_AWAY, RESTARTING, close_frame
from supervisor.gateway.loop import NEVER, Loop
from supervisor.gateway.seats import Holder, Seat
from supervisor.gateway.sessions import Worker
from supervisor.gateway.stream import Stream
from supervisor.gateway.tunnel import Tunnel

TEXT = b"\x81\x82mask\x00\x00"
PING = b"\x89\x80mask"
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe9"  # 1001
BROKEN = b"\x88\x82\x00\x00\x00\x00\x03\xea"  # 1002


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
        self.closed = self.ended = True


class Clock:
    now = 0.0

    def within(self, timed: Any, seconds: int) -> None:
        timed.deadline = int(self.now) + seconds


class Book:
    """What a tunnel tells its owner."""

    def __init__(self) -> None:
        self.closed: list[str] = []
        self.left: list[tuple[str, bool]] = []
        self.silences: list[tuple[str, float]] = []

    def vacate(self, seat: str, clean: bool) -> None:
        self.left.append((seat, clean))

    def silent(self, seat: str, which: str, seconds: float) -> None:
        self.silences.append((which, seconds))

    def untunnel(self, tunnel: Tunnel) -> None:
        self.closed.append("closed")


class Scene:
    """A tunnel with a seat, its two sides and its owner."""

    def __init__(self, connection: float = 0.0, read: float = 0.0) -> None:
        self.clock = Clock()
        self.book = Book()
        self.client, self.upstream = Recorder(), Recorder()
        self.worker = Worker("01run", b"guid", "app.sock", 1, -1)
        self.worker.connection, self.worker.read = connection, read
        self.seat = Seat("g-1", self.worker, "v", 0.0, cast(Holder, None))
        self.tunnel = Tunnel(
            cast(Loop, self.clock),
            cast(Stream, self.client),
            cast(Stream, self.upstream),
            self.worker,
            self.book,
            self.seat,
        )

    def client_says(self, data: bytes, at: float = 0.0) -> None:
        self.clock.now = at
        self.tunnel.received(cast(Stream, self.client), memoryview(data))

    def worker_says(self, data: bytes, at: float = 0.0) -> None:
        self.clock.now = at
        self.tunnel.received(cast(Stream, self.upstream), memoryview(data))

    def client_ends(self) -> None:
        self.client.ended = True
        self.tunnel.ended(cast(Stream, self.client))

    def wake(self, at: float) -> None:
        """Let the wheel reach this time: it calls where the deadline has come."""
        self.clock.now = at
        if 0 <= self.tunnel.deadline <= at:
            self.tunnel.overdue()


def make() -> tuple[Tunnel, Recorder, Recorder, list[str]]:
    scene = Scene()
    return scene.tunnel, scene.client, scene.upstream, scene.book.closed


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
    tunnel, _, upstream, closed = make()
    tunnel.ended(cast(Stream, upstream))
    tunnel.overdue()
    assert (["closed"], -1) == (closed, tunnel.deadline)


def test_a_client_that_ends_leaves_its_seat_though_the_worker_still_computes() -> None:
    scene = Scene()
    scene.client_ends()
    assert ([("g-1", False)], []) == (scene.book.left, scene.book.closed)
    scene.tunnel.close()
    assert [("g-1", False)] == scene.book.left


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        ([TEXT, CLOSE], True),
        ([CLOSE, TEXT], False),
        ([TEXT], False),
        ([PING], False),
        ([BROKEN], False),
    ],
)
def test_a_close_frame_at_the_end_makes_it_clean(said: list[bytes], clean: bool) -> None:
    scene = Scene()
    for data in said:
        scene.client_says(data)
    scene.client_ends()
    assert [("g-1", clean)] == scene.book.left


def test_data_of_either_side_is_heard_and_control_frames_are_not() -> None:
    scene = Scene()
    scene.client_says(TEXT, at=1)
    scene.worker_says(b"\x81\x01x", at=2)
    scene.client_says(PING, at=3)
    scene.worker_says(b"\x8a\x00", at=4)
    assert (4, 3, len(TEXT + PING), 5) == scene.tunnel.usage(5.0)
    assert TEXT + PING == scene.upstream.sent


def test_a_silence_is_told_at_its_limit_and_each_minute() -> None:
    scene = Scene(connection=100)
    scene.worker_says(b"\x81\x01x", at=50)
    told = []
    for second in range(51, 300):
        scene.wake(second)
        told += [(second, *one) for one in scene.book.silences]
        scene.book.silences.clear()
    assert [
        (150, "connection", 100),
        (210, "connection", 160),
        (270, "connection", 220),
    ] == told


def test_a_client_that_only_listens_is_silent_to_read_alone() -> None:
    scene = Scene(connection=100, read=40)
    for second in range(1, 50):
        scene.worker_says(b"\x81\x01x", at=second)
        scene.wake(second)
    assert [("read", 40)] == scene.book.silences
    scene.client_says(TEXT, at=50)
    for second in range(50, 92):
        scene.worker_says(b"\x81\x01x", at=second)
        scene.wake(second)
    assert [("read", 40), ("read", 40)] == scene.book.silences


def test_no_limit_means_no_deadline_and_a_new_limit_counts_from_the_last_data() -> None:
    scene = Scene()
    assert NEVER == scene.tunnel.deadline
    scene.client_says(TEXT, at=10)
    scene.worker.read = 30.0
    scene.clock.now = 20
    scene.tunnel.listen()
    assert 40 == scene.tunnel.deadline


def test_a_session_that_is_ended_gets_a_close_frame_and_its_worker_the_end() -> None:
    scene = Scene()
    scene.tunnel.end(GOING_AWAY, "silent for an hour")
    assert close_frame(1001, "silent for an hour") == scene.client.sent
    assert (True, True, False) == (
        scene.client.finished, scene.upstream.closed, scene.client.closed,
    )  # fmt: skip
    assert [("g-1", True)] == scene.book.left
    scene.client_ends()
    assert ["closed"] == scene.book.closed


def test_a_client_that_does_not_take_its_end_is_closed_soon() -> None:
    scene = Scene()
    scene.tunnel.end(RESTARTING, "renewed")
    assert ([("g-1", False)], 5) == (scene.book.left, scene.tunnel.deadline)
    scene.wake(5)
    assert ["closed"] == scene.book.closed
