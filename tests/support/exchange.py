"""One client connection between recorders: no socket, no loop, no clock."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from supervisor.gateway.access import RequestIds
from supervisor.gateway.exchange import Exchange
from supervisor.gateway.proxies import Proxies
from supervisor.gateway.route import Site
from supervisor.gateway.seats import Seats
from supervisor.gateway.sessions import Pins, Sessions, Worker

GUID = b"0f8fad5b-d9cb-469f-a165-70867728950e"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Wire:
    """A stream that records what is sent and whether it is paused, finished or closed."""

    def __init__(self, sink: Any = None) -> None:
        self.sink = sink
        self.sent = b""
        self.unsent: bytearray | None = None
        self.paused = self.ended = self.finished = self.closed = self.unread = False

    def send(self, data: Any) -> bool:
        self.sent += bytes(data)
        return self.unsent is None

    def send_all(self, pieces: Any) -> bool:
        return self.send(b"".join(map(bytes, pieces)))

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def finish(self) -> None:
        self.finished = True

    def close(self) -> None:
        self.closed = True

    def has_input(self) -> bool:
        return self.unread

    def take(self) -> bytes:
        sent, self.sent = self.sent, b""
        return sent


class Recorder:
    """The gateway as an exchange sees it."""

    def __init__(self) -> None:
        self.site = Site()
        self.sessions = Sessions()
        self.pins = Pins()
        self.pins.rekey(b"k" * 32)
        self.worker = Worker("01run", GUID, "app.sock", 0, -1)
        self.sessions.put(self.worker)
        self.stopping = False
        self.ids = RequestIds()
        self.proxies = Proxies()
        self.access: Any = None
        self.statuses: list[int] = []
        self.wait = 60
        self.core_is_near = True
        self.seats = Seats()
        self.asked: list[tuple[str, str, str | None]] = []
        self.seats_asked: list[str | None] = []
        self.left_seats: list[tuple[str, bool]] = []
        self.early: list[Any] = []
        self.forgotten = 0
        self.opened: list[Worker | None] = []
        self.failed: list[str] = []
        self.retried: list[bytes] = []
        self.declared: list[bytes] = []
        self.refuses = ""
        self.over = False
        self.tunnels: list[Any] = []
        self.upstream = Wire()
        self.loop = SimpleNamespace(
            now=0.0, wall=0.0, within=self._within, log=SimpleNamespace(warning=lambda *a, **k: 0)
        )

    def _within(self, timed: Any, seconds: int) -> None:
        timed.deadline = int(self.loop.now) + seconds

    def ask(
        self,
        asker: Any,
        guid: bytes,
        want: str,
        visitor: str,
        run: str | None,
        seat: str | None = None,
        *,
        request: str = "",
    ) -> None:
        self.asked.append((want, visitor, run))
        self.seats_asked.append(seat)

    def await_core(self, asker: Any) -> None:
        self.early.append(asker)

    def vacate(self, seat: str, clean: bool) -> None:
        self.seats.leave(seat, clean)
        self.left_seats.append((seat, clean))

    def pin(self, guid: bytes, run: str, visitor: str) -> bytes:
        return f"{run}.{visitor}".encode()

    def open(self, worker: Worker | None, exchange: Any) -> None:
        self.opened.append(worker)
        if self.refuses:
            exchange.unconnected(self.refuses, "it is gone")
        else:
            self.upstream = Wire(exchange)
            exchange.connected(self.upstream)

    def forget(self, exchange: Any) -> None:
        self.forgotten += 1

    def unreachable(self, worker: Worker, reason: str) -> None:
        self.failed.append(worker.run)

    def retry(self, guid: bytes) -> None:
        self.retried.append(guid)

    def changed(self, worker: Worker) -> None:
        self.sessions.changed.add(worker)

    def declares(self, worker: Worker, value: bytes) -> None:
        self.declared.append(value)

    def pin_cookie(self, guid: bytes, run: str, visitor: str) -> bytes:
        return b"supervisor-pin=" + self.pin(guid, run, visitor)

    def tunnel(self, client: Any, upstream: Any, worker: Any, seat: Any, visit: Any) -> None:
        client.sink = upstream.sink = "tunnel"
        self.tunnels.append((client, upstream, worker, seat))

    def answered(self, status: int) -> None:
        self.statuses.append(status)

    def left(self, exchange: Any) -> None:
        self.over = True


class Scene:
    """An exchange with its two sides."""

    def __init__(self) -> None:
        self.gateway = Recorder()
        self.exchange = Exchange(self.gateway, b"1.2.3.4")  # type: ignore[arg-type]
        self.client = Wire(self.exchange)
        self.exchange.client = self.client  # type: ignore[assignment]
        self.gateway._within(self.exchange, 75)

    def says(self, data: bytes) -> None:
        self.exchange.received(self.client, memoryview(data))  # type: ignore[arg-type]

    def answers(self, data: bytes) -> None:
        self.exchange.received(self.gateway.upstream, memoryview(data))  # type: ignore[arg-type]

    def get(self, *lines: bytes, path: bytes = b"", method: bytes = b"GET") -> bytes:
        first = b"%b /content/%b/%b HTTP/1.1" % (method, GUID, path)
        pin = self.gateway.pins.sign(GUID, "01run", "v", 1000)
        lines = (first, b"Host: h", b"Cookie: supervisor-pin=" + pin, *lines)
        return b"\r\n".join(lines) + b"\r\n\r\n"
