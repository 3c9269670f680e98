"""The upstream's half of an exchange: its answer, checked, rewritten and passed on, sans-IO."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from supervisor.gateway import answers, notice, verdicts
from supervisor.gateway.access import GONE, Visit
from supervisor.gateway.answers import Answer
from supervisor.gateway.body import LAST_CHUNK, BadChunk, Chunks, chunk
from supervisor.gateway.fields import CHUNKED, BadHead
from supervisor.gateway.head import HEAD_LIMIT, UNTIL_END, Request, Response, parse_response
from supervisor.gateway.loop import NEVER
from supervisor.gateway.rewrite import Place, response_lines
from supervisor.gateway.route import Kind, is_navigation, wants_json
from supervisor.gateway.seats import Seat
from supervisor.gateway.sessions import WAITING, Worker
from supervisor.gateway.stream import Stream
from supervisor.gateway.surroundings import Surroundings

# Where the request stands …
HEAD, BODY, CHUNKS, DONE, CLOSING = range(5)
# … and its answer.
IDLE, ASKING, OPENING, AWAITING, COUNTED, STREAMED = range(6)
NOT_BEGUN = -1.0


class Answering:
    """The state of an exchange, and what the upstream's bytes do to it."""

    __slots__ = (
        "about", "about_for", "address", "answer_chunks", "answer_left", "answering", "began",
        "chunks", "client", "consuming", "cookie", "deadline", "framed", "gateway", "guid", "held",
        "keep", "kind", "left", "name", "partial", "peer", "reading", "request", "reused", "seat",
        "seat_name", "sent", "slot", "status", "tail", "target", "tries", "trusted", "upstream",
        "upstream_keep", "visitor", "worker",
    )  # fmt: skip
    client: Stream

    def __init__(self, gateway: Surroundings, address: bytes) -> None:
        self.gateway = gateway
        self.peer = address
        self.address = address  # of the client, as X-Forwarded-For says it
        self.trusted = gateway.proxies.trusts(address)  # its word about the client counts
        self.upstream: Stream | None = None
        self.worker: Worker | None = None  # whose request this is; None is the core or nobody
        self.request: Request | None = None
        self.reading = HEAD
        self.answering = IDLE
        self.held = b""  # read from the client and not used yet
        self.left = 0  # of a counted request body
        self.chunks: Chunks | None = None
        self.partial = b""  # the beginning of a response head
        self.answer_left = 0  # of a counted answer
        self.answer_chunks: Chunks | None = None
        self.framed = False  # we write chunks to the client
        self.tail = b""  # what we add to the answer's body
        self.keep = True  # the client's connection stays
        self.upstream_keep = False
        self.reused = False  # the upstream has been idle since it was opened
        self.tries = 0
        self.consuming = False
        self.kind = Kind.CORE
        self.guid = b""
        self.target = b""
        self.visitor = ""
        self.cookie = b""  # a new pin for the answer
        self.seat_name = ""  # of the seat that the core was asked for
        self.seat: Seat | None = None  # once it was granted
        self.about = b""  # lines about the visitor, and what they hold for
        self.about_for = (b"", b"")
        self.name = b""  # the request's id
        self.began = NOT_BEGUN  # the loop's time, until the answer is in the access log
        self.status = 0  # of the answer, once its head is sent
        self.sent = 0  # bytes of its body
        self.deadline = NEVER
        self.slot = NEVER

    # Filled in by Exchange

    def close(self) -> None:
        """Close both streams and forget the request. Closing twice is fine."""
        raise NotImplementedError

    def _finish(self) -> None:
        raise NotImplementedError

    def unconnected(self, code: str, reason: str) -> None:
        """Ask the core once more, or answer that there is nobody."""
        raise NotImplementedError

    def crashed(self) -> None:
        """Let go of everything."""
        self.close()

    def _drop_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
        self.partial = b""

    def _stand_up(self) -> None:
        """Give back a seat that was never used."""
        assert self.seat is not None
        seat, self.seat = self.seat, None
        self.gateway.vacate(seat.name, True)

    # What the upstream sends

    def _from_upstream(self, data: memoryview) -> None:
        answering = self.answering
        if answering == AWAITING:
            self._answer_head(self.partial + bytes(data) if self.partial else bytes(data))
        elif answering == COUNTED:
            self._answer_counted(data)
        elif answering == STREAMED:
            self._answer_streamed(data)
        else:
            self._drop_upstream()  # bytes that nobody asked for would become somebody's answer

    def _answer_head(self, buffer: bytes) -> None:
        while True:
            end = buffer.find(b"\r\n\r\n")
            if end < 0 or end > HEAD_LIMIT:
                if len(buffer) > HEAD_LIMIT:
                    self._bad_gateway(f"its answer's head is over {HEAD_LIMIT // 1024} KiB")
                else:
                    self.partial = buffer
                return
            try:
                response = parse_response(buffer[:end])
            except BadHead as error:
                self._bad_gateway(error.reason)
                return
            buffer = buffer[end + 4 :]
            if response.status >= 200:
                self.partial = b""
                self._answer(response, buffer)
                return
            if response.status == 101:
                self._switch(response, buffer)
                return
            if self.request is not None and self.request.minor == 1:
                fits = self.client.send(b"\r\n".join(response.kept) + b"\r\n\r\n")
                if not fits:  # a content may send them for ever
                    self._pause_upstream()

    def _answer(self, response: Response, rest: bytes) -> None:
        request = self.request
        assert request is not None
        if self.seat is not None:
            self._stand_up()
        length = response.length
        self.upstream_keep = response.keep_alive
        self.framed = False
        self.tail = notice.tail(self.worker, request, response, self.gateway.site.base)
        bodyless = request.method == b"HEAD" or response.status in (204, 304)
        if length >= 0:
            whole = length + len(self.tail) if length else 0
            tail = b"" if response.status == 204 else b"\r\nContent-Length: %d" % whole
        elif bodyless:
            tail = b""
        elif request.minor == 1:
            tail = b"\r\nTransfer-Encoding: chunked"
            self.framed = True
        else:
            tail = b""
            self.keep = False
        head = self._head(response, request, tail)
        self.deadline = NEVER
        if bodyless or length == 0:
            if rest:
                self.upstream_keep = False
            self.client.send(head)
            self._finish()
        elif length > 0:
            self.answering = COUNTED
            self.sent = whole
            self.answer_left = length + len(head)
            self._answer_counted(head + rest)
        else:
            if length == UNTIL_END:
                self.upstream_keep = False
            self.answering = STREAMED
            self.answer_chunks = Chunks() if length == CHUNKED else None
            if not self.client.send(head):
                self._pause_upstream()
            if rest:
                self._answer_streamed(memoryview(rest))

    def _head(self, response: Response, request: Request, tail: bytes) -> bytes:
        """Write the head of an answer; `tail`: what says how its body is framed."""
        self.status, self.sent = response.status, 0
        if self.worker is None:
            lines = response_lines(response, None)
        elif response.cookies or response.locations:
            lines = response_lines(response, Place(self.gateway.site, self.guid, request.host))
        else:
            lines = response.kept
        if response.busy is not None and self.worker is not None:
            self.gateway.declares(self.worker, response.busy)
        if self.cookie:
            tail += b"\r\nSet-Cookie: " + self.cookie
            self.cookie = b""
        if self.gateway.stopping or self.client.ended:
            self.keep = False
        if not self.keep:
            tail += b"\r\nConnection: close"
        elif request.minor == 0:
            tail += b"\r\nConnection: keep-alive"
        return b"%b%b\r\n\r\n" % (b"\r\n".join(lines), tail)

    def _answer_counted(self, data: bytes | memoryview) -> None:
        left = self.answer_left - len(data)
        if left < 0:
            data = data[:left]
            left = 0
            self.upstream_keep = False  # more than it said: nothing after this can be trusted
        self.answer_left = left
        fits = self.client.send(data)
        if not left:
            if self.tail:
                self.client.send(self.tail)
            self._finish()
        elif not fits:
            self._pause_upstream()

    def _answer_streamed(self, data: memoryview) -> None:
        payload: bytes | memoryview = data
        chunks = self.answer_chunks
        if chunks is not None:
            try:
                payload, data = chunks.feed(data)
            except BadChunk as error:
                self._warn("answer-malformed", reason=str(error))
                self.close()  # the client sees an answer that is cut short
                return
        if payload:
            self.sent += len(payload)
            fits = (
                self.client.send_all(chunk(payload)) if self.framed else self.client.send(payload)
            )
            if not fits:
                self._pause_upstream()
        if chunks is not None and chunks.done:
            if data:
                self.upstream_keep = False
            self._end_stream()

    def _end_stream(self) -> None:
        if self.tail:
            self.client.send_all(chunk(self.tail) if self.framed else (self.tail,))
        if self.framed:
            self.client.send(LAST_CHUNK)
        self._finish()

    def _pause_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.pause()

    def _upstream_ended(self) -> None:
        """Deal with an upstream that has ended or is broken."""
        if self.answering == STREAMED and self.answer_chunks is None:
            self._end_stream()
        elif self.answering in (COUNTED, STREAMED):
            self.close()  # the client must see that the answer is cut short
        elif self.answering == AWAITING:
            reason = "the connection ended before an answer came"
            if self.request is not None and self.request.websocket and not self.partial:
                self._drop_upstream()
                self.unconnected("unavailable", reason)  # its process died: there may be another
                return
            if self.worker is not None and self.worker.address is not None:
                # what stands before the process there accepts whether that listens or not
                self.gateway.unreachable(self.worker, reason)
            self._bad_gateway(reason)
        else:
            self._drop_upstream()

    def _switch(self, response: Response, rest: bytes) -> None:
        """Become a tunnel, if the client asked for one."""
        request, upstream = self.request, self.upstream
        assert upstream is not None
        if request is None or not (request.websocket and response.websocket):
            self._bad_gateway("it switched protocols without being asked")
            return
        self.keep = True
        tail = b"\r\nUpgrade: websocket\r\nConnection: Upgrade"
        self.client.send(self._head(response, request, tail) + rest)
        if self.held:
            upstream.send(self.held)
        self.upstream = None  # the tunnel's from now on, like the seat
        seat, self.seat = self.seat, None
        visit, self.began = self._visit(), NOT_BEGUN
        self.gateway.tunnel(self.client, upstream, self.worker, seat, visit)
        self.close()

    # What we say ourselves

    def answer(self, answer: Answer) -> None:
        """Answer by ourselves: nothing of an upstream's answer has been sent yet."""
        request = self.request
        close = self.reading != DONE or not self.keep or self.gateway.stopping
        minor = request.minor if request is not None else 1
        data = answers.head(answer, close=close, minor=minor, request=self.name)
        self.status, self.sent = answer.status, 0
        if request is None or request.method != b"HEAD":
            data += answer.body
            self.sent = len(answer.body)
        self.keep = not close
        # An upstream that was in the middle of something cannot be used again.
        self.upstream_keep = self.answering < AWAITING
        self.deadline = NEVER
        self.cookie = b""
        if self.seat is not None:
            self._stand_up()
        self.client.send(data)
        self._finish()

    def _verdict(self, message: dict[str, Any]) -> Answer:
        request = self.request
        assert request is not None
        if not is_navigation(request):
            return verdicts.note(message, wants_json(request))
        gateway = self.gateway
        if message.get("as") not in ("starting", "queued"):
            return verdicts.page(message, gateway.site.base, self.guid)
        # Whoever waits keeps a name, so that a reload does not begin at the end of the line.
        pin = gateway.pin(self.guid, WAITING, self.visitor)
        page = verdicts.page(message, gateway.site.base, self.guid, pin)
        cookie = b"Set-Cookie: " + gateway.pin_cookie(self.guid, WAITING, self.visitor)
        return replace(page, headers=(*page.headers, cookie))

    def _bad_gateway(self, reason: str) -> None:
        run = self.worker.run if self.worker is not None else "core"
        self._warn("bad-gateway", run=run, reason=reason)
        self.answer(self._verdict(verdicts.bad_gateway(reason, "unavailable")))

    # What the logs say

    def _warn(self, event: str, **fields: object) -> None:
        self.gateway.loop.log.warning(event, **fields, request=self.name.decode("ascii"))

    def _visit(self) -> Visit:
        worker = self.worker
        run = worker.run if worker is not None else ""
        content = self.guid if self.kind is Kind.CONTENT else b""
        return Visit(self.address, self.request, self.name, self.began, content, run)

    def _note(self) -> None:
        """Count the request that is over, and put it into the access log, answered or not."""
        self.gateway.answered(self.status or GONE)
        access = self.gateway.access
        if access is not None:
            sent = self.sent
            if self.answering == COUNTED:  # cut short, where anything is left
                sent = max(0, sent - self.answer_left)
            access.note(self._visit(), self.status or GONE, sent)
        self.began = NOT_BEGUN
