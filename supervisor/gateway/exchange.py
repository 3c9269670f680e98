"""One client connection: request → route → upstream → response, again and again, sans-IO.

Bytes come in by `received`; what to do goes out as calls on two streams and on the gateway, so that
tests drive it with recorders. After 101 the two streams are handed to a Tunnel.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from supervisor.gateway import answers, verdicts
from supervisor.gateway.answers import Answer
from supervisor.gateway.body import LAST_CHUNK, BadChunk, Chunks, chunk
from supervisor.gateway.head import (
    CHUNKED,
    HEAD_LIMIT,
    UNTIL_END,
    BadHead,
    Request,
    Response,
    parse_request,
    parse_response,
)
from supervisor.gateway.loop import GONE_FOR_GOOD, NEVER
from supervisor.gateway.rewrite import Place, pins, request_head, response_lines, visitor_lines
from supervisor.gateway.route import Kind, is_navigation, route, wants_json
from supervisor.gateway.sessions import Worker, new_visitor
from supervisor.gateway.stream import Stream

if TYPE_CHECKING:
    from supervisor.gateway.gateway import Gateway

HEAD_SECONDS = 10  # to complete a head once it has begun
IDLE_SECONDS = 75  # between requests
CORE_SECONDS = 5  # for the core to come back before a request to it is given up
LINGER_SECONDS = 2  # for a client to read our last words
SLOW_LINGER_SECONDS = 60  # the same, where it has not even taken what went before

# Where the request stands …
HEAD, BODY, CHUNKS, DONE, CLOSING = range(5)
# … and its answer.
IDLE, ASKING, OPENING, AWAITING, COUNTED, CHUNKED_BODY, ENDLESS = range(7)


class Exchange:
    """A client's stream, at most one upstream's stream, and the request between them."""

    __slots__ = (
        "about", "about_for", "address", "answer_chunks", "answer_left", "answering", "chunks",
        "client", "consuming", "cookie", "counted", "deadline", "framed", "gateway", "guid", "held",
        "keep", "kind", "left", "partial", "reading", "request", "reused", "slot", "target",
        "tries", "upstream", "upstream_keep", "visitor", "worker",
    )  # fmt: skip
    client: Stream

    def __init__(self, gateway: Gateway, address: bytes) -> None:
        self.gateway = gateway
        self.address = address
        self.upstream: Stream | None = None
        self.worker: Worker | None = None  # of the upstream; None with an upstream is the core
        self.counted: Worker | None = None  # whose request count we are in
        self.held = b""  # read from the client and not used yet
        self.partial = b""  # the beginning of a response head
        self.request: Request | None = None
        self.reading = HEAD
        self.answering = IDLE
        self.left = 0
        self.answer_left = 0
        self.chunks: Chunks | None = None
        self.answer_chunks: Chunks | None = None
        self.framed = False  # we write chunks to the client
        self.keep = True
        self.upstream_keep = False
        self.reused = False  # the upstream has served an answer before
        self.tries = 0
        self.consuming = False
        self.kind = Kind.CORE
        self.guid = b""
        self.target = b""
        self.visitor = ""
        self.cookie = b""  # a new pin for the answer
        self.about = b""
        self.about_for = (b"", b"")
        self.deadline = NEVER
        self.slot = NEVER

    # Bytes and ends of both streams

    def received(self, stream: Stream, data: memoryview) -> None:
        """Take bytes of the client or of the upstream."""
        if stream is not self.client:
            self._from_upstream(data)
        elif self.reading == HEAD:
            self.held = self.held + bytes(data) if self.held else bytes(data)
            self._consume()
        elif self.reading == CLOSING:
            self.left += len(data)
            if self.left > 1 << 20:
                self.close()
        elif self.reading == DONE or self.answering < AWAITING:
            self.held += bytes(data)  # pipelined, or a body that has nowhere to go yet
            self.client.pause()
        else:
            self._body(data)

    def ended(self, stream: Stream) -> None:
        """Learn that the client or the upstream has ended its side."""
        if stream is not self.client:
            self._upstream_ended()
        elif self.reading == CLOSING and self.client.backlog:
            pass  # it still reads
        elif self.reading != DONE:
            self.close()  # idle, or a request that will never be complete

    def vanished(self, stream: Stream) -> None:
        """Drop everything for a client that is gone; an upstream is read to its end first."""
        if stream is self.client:
            self.close()

    def drained(self, stream: Stream) -> None:
        """Go on with what was stopped by back-pressure."""
        if stream is not self.client:
            if self.reading in (BODY, CHUNKS):
                self.client.resume()
        elif self.reading == CLOSING:
            if self.client.ended:
                self.close()
            else:
                self.gateway.loop.within(self, LINGER_SECONDS)
        elif self.answering == IDLE:
            self.client.resume()
            self._consume()
        elif self.upstream is not None:
            self.upstream.resume()

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
        return self.reading == HEAD and not self.held and not self.client.backlog

    def crashed(self) -> None:
        """Let go of everything."""
        self.close()

    def overdue(self) -> None:
        """End what takes too long."""
        if self.reading == HEAD and self.held:
            self._refuse(BadHead(408, f"the request's head took over {HEAD_SECONDS} seconds"))
        elif self.answering == ASKING:
            self.gateway.forget(self)
            self.answer(self._verdict(verdicts.too_late()))
        elif self.answering == AWAITING and self.worker is None:
            if self.gateway.core_is_near:
                self.gateway.loop.within(self, CORE_SECONDS)
            else:
                self.answer(self._verdict(verdicts.core_away()))
        else:
            self.close()

    def close(self) -> None:
        """Close both streams and forget the request. Closing twice is fine."""
        if self.deadline == GONE_FOR_GOOD:
            return
        self.deadline = GONE_FOR_GOOD
        if self.answering in (ASKING, OPENING):
            self.gateway.forget(self)
        self._count(None)
        self._drop_upstream()
        self.client.close()
        self.request = None
        self.gateway.left(self)

    # The request

    def _consume(self) -> None:
        """Take requests from what is held, one after another."""
        if self.consuming:
            return
        self.consuming = True
        while self.held and self.reading == HEAD and not self.client.backlog:
            end = self.held.find(b"\r\n\r\n")
            if end < 0 or end > HEAD_LIMIT:
                self._incomplete(end)
                break
            head, self.held = self.held[:end], self.held[end + 4 :]
            try:
                request = parse_request(head)
            except BadHead as error:
                self._refuse(error)
                break
            self._begin(request)
        self.consuming = False

    def _incomplete(self, end: int) -> None:
        if end > HEAD_LIMIT or len(self.held) > HEAD_LIMIT:
            self._refuse(BadHead(431, f"the head is over {HEAD_LIMIT // 1024} KiB"))
        elif not 65 <= self.held[0] <= 90:
            self._refuse(BadHead(400, "this is not HTTP/1.1"))  # TLS, an empty line, noise
        elif self.client.ended:
            self.close()
        elif self.deadline - self.gateway.loop.now > HEAD_SECONDS:
            self.gateway.loop.within(self, HEAD_SECONDS)

    def _begin(self, request: Request) -> None:
        gateway = self.gateway
        self.request = request
        self.keep = request.keep_alive
        self.deadline = NEVER
        self.tries = 0
        if request.length == 0:
            self.reading = DONE
        elif request.length == CHUNKED:
            self.reading = CHUNKS
            self.chunks = Chunks()
        else:
            self.reading = BODY
            self.left = request.length
        target = gateway.site.within(request.target) if gateway.site.base else request.target
        self.kind, self.guid, self.target = route(target)
        if request.method in (b"CONNECT", b"TRACE"):
            self._refuse(BadHead(405, "this method is not served"))
        elif self.kind is Kind.PING:
            self.answer(answers.ping())
        elif self.kind is Kind.REDIRECT:
            self.answer(answers.redirect(gateway.site.base + self.target))
        elif request.websocket and not gateway.site.same_origin(request):
            self.answer(answers.note(403, "not-allowed", "a page of another site asks"))
        elif self.kind is Kind.CONTENT:
            self._to_content(request)
        elif self.kind is Kind.WAIT:
            self.visitor = new_visitor()
            self._ask("request", None)
        else:
            self.answering = OPENING
            self._go(None)

    def _to_content(self, request: Request) -> None:
        gateway = self.gateway
        pin = (
            gateway.pins.first(self.guid, pins(request.cookies), gateway.wall)
            if (request.cookies)
            else None
        )
        if pin is not None:
            worker = gateway.sessions.workers.get(pin.run)
            # A new page belongs on a worker that stays; what an old page asks for does not.
            if (
                worker is not None
                and worker.guid == self.guid
                and not (worker.draining and is_navigation(request))
            ):
                self._go(worker)
                return
            self.visitor = pin.visitor
        else:
            self.visitor = new_visitor()
        want = "socket" if request.websocket else "page" if is_navigation(request) else "request"
        self._ask(want, pin.run if pin is not None else None)

    def _ask(self, want: str, run: str | None) -> None:
        self.answering = ASKING
        if self.reading != DONE:
            self.client.pause()
        self.gateway.loop.within(self, self.gateway.wait)
        self.gateway.ask(self, self.guid, want, self.visitor, run)

    def answered(self, message: dict[str, Any]) -> None:
        """Take the core's answer to our question."""
        if self.answering != ASKING:
            return
        self.deadline = NEVER
        worker = None
        if message.get("as") == "worker":
            worker = self.gateway.sessions.workers.get(str(message.get("run")))
        if self.kind is Kind.WAIT:
            self.answer(verdicts.wait(message, worker is not None))
        elif worker is not None and worker.guid == self.guid:
            self.cookie = self.gateway.pin_cookie(self.guid, worker.run, self.visitor)
            self._go(worker)
        else:
            self.answer(self._verdict(message))

    def _verdict(self, message: dict[str, Any]) -> Answer:
        request = self.request
        assert request is not None
        if is_navigation(request):
            return verdicts.page(message, self.gateway.site.base, self.guid)
        return verdicts.note(message, wants_json(request))

    # The upstream

    def _go(self, worker: Worker | None) -> None:
        """Send the request to a worker, or to the core."""
        self._count(worker)
        if self.upstream is not None:
            if self.worker is worker:
                self._forward()
                return
            self._drop_upstream()
        self.worker = worker
        self.answering = OPENING
        if self.reading != DONE:
            self.client.pause()
        self.gateway.open(worker, self)

    def plugged(self, sock: socket.socket) -> None:
        """Take the connection that `open` was asked for."""
        self.connected(Stream(self.gateway.loop, sock, self))

    def connected(self, stream: Stream) -> None:
        """Send the request over a new stream."""
        if self.answering != OPENING:
            stream.close()
            return
        self.upstream = stream
        self.reused = False
        self._forward()

    def unconnected(self, code: str, reason: str) -> None:
        """Learn that no connection could be made; nothing of the request has been sent."""
        worker = self.worker
        if self.answering != OPENING:
            return
        if worker is None:
            self.answer(self._verdict(verdicts.core_away()))
            return
        self._count(None)
        self.gateway.unreachable(worker, reason)
        if code == "unavailable" and self.tries == 0:
            self.tries = 1
            request = self.request
            assert request is not None
            want = (
                "socket" if request.websocket else "page" if is_navigation(request) else "request"
            )
            self._ask(want, None)
        else:
            self.answer(self._verdict(verdicts.bad_gateway(reason, code)))

    def _forward(self) -> None:
        request, upstream = self.request, self.upstream
        assert request is not None
        assert upstream is not None
        if self.about_for != (self.guid, request.host):
            self.about_for = (self.guid, request.host)
            self.about = visitor_lines(self.gateway.site, self.address, request.host, self.guid)
        head = request_head(request, self.target, self.about, self.worker is not None)
        self.answering = AWAITING
        if self.worker is None:
            self.gateway.loop.within(self, CORE_SECONDS)
        upstream.send(head)
        if self.reading != DONE:
            self.client.resume()
            if self.held:
                data, self.held = memoryview(self.held), b""
                self._body(data)

    def _body(self, data: memoryview) -> None:
        """Pass a piece of the request's body on; what lies beyond it is the next request."""
        upstream = self.upstream
        assert upstream is not None
        if self.reading == BODY:
            piece, data = data[: self.left], data[self.left :]
            self.left -= len(piece)
            fits = upstream.send(piece)
            if not self.left:
                self.reading = DONE
        else:
            assert self.chunks is not None
            try:
                payload, data = self.chunks.feed(data)
            except BadChunk as error:
                self._refuse(BadHead(400, str(error)))
                return
            fits = upstream.send_all(chunk(payload)) if payload else True
            if self.chunks.done:
                self.reading = DONE
                self.chunks = None
                upstream.send(LAST_CHUNK)
        if self.reading == DONE:
            if data:
                self.held = bytes(data)
                self.client.pause()
        elif not fits:
            self.client.pause()

    def _drop_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
            self.upstream = None
        self.worker = None
        self.partial = b""

    def _count(self, worker: Worker | None) -> None:
        """Count the request in flight under this worker, or no longer under any."""
        if self.counted is not None:
            self.counted.requests -= 1
            self.gateway.sessions.changed.add(self.counted)
        self.counted = worker
        if worker is not None:
            worker.requests += 1
            worker.total += 1
            self.gateway.changed(worker)

    def _upstream_ended(self) -> None:
        request = self.request
        if self.answering == ENDLESS:
            self.upstream_keep = False
            if self.framed:
                self.client.send(LAST_CHUNK)
            self._finish()
        elif self.answering != AWAITING or request is None:
            if self.answering in (COUNTED, CHUNKED_BODY):
                self.close()  # the client must see that the answer is cut short
            else:
                self._drop_upstream()
        elif (
            self.reused
            and not self.partial
            and request.length == 0
            and request.method in (b"GET", b"HEAD")
            and not request.websocket
        ):
            worker = self.worker  # it closed the idle connection while our request was on its way
            self._drop_upstream()
            self.worker = worker
            self.answering = OPENING
            self.gateway.open(worker, self)
        else:
            self._bad_gateway("the connection ended before an answer came")

    # The answer

    def _from_upstream(self, data: memoryview) -> None:
        answering = self.answering
        if answering == COUNTED:
            self._answer_counted(data)
        elif answering == AWAITING:
            self._answer_head(data)
        elif answering in (CHUNKED_BODY, ENDLESS):
            self._answer_stream(data)
        else:
            self._drop_upstream()  # bytes that nobody asked for would become somebody's answer

    def _answer_head(self, data: memoryview) -> None:
        buffer = self.partial + bytes(data) if self.partial else bytes(data)
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
            self._interim(response)

    def _interim(self, response: Response) -> None:
        if self.request is not None and self.request.minor == 1:
            lines = [b"HTTP/1.1 %d %b" % (response.status, response.reason), *response.kept]
            self.client.send(b"\r\n".join(lines) + b"\r\n\r\n")

    def _lines(self, response: Response) -> list[bytes]:
        """The head's lines but those about framing and the connection."""
        request = self.request
        assert request is not None
        place = None
        if self.worker is not None:
            place = Place(self.gateway.site, self.guid, request.host)
        lines = [b"HTTP/1.1 %d %b" % (response.status, response.reason)]
        lines += response_lines(response, place)
        if self.cookie:
            lines.append(b"Set-Cookie: " + self.cookie)
            self.cookie = b""
        return lines

    def _answer(self, response: Response, rest: bytes) -> None:
        request = self.request
        assert request is not None
        lines = self._lines(response)
        length = response.length
        bodyless = request.method == b"HEAD" or response.status in (204, 304)
        self.upstream_keep = response.keep_alive
        self.framed = False
        if length >= 0:
            if response.status != 204:
                lines.append(b"Content-Length: %d" % length)
        elif not bodyless:
            if length == UNTIL_END:
                self.upstream_keep = False
            if request.minor == 1:
                self.framed = True
                lines.append(b"Transfer-Encoding: chunked")
            else:
                self.keep = False
        if self.gateway.stopping or self.client.ended:
            self.keep = False
        if not self.keep:
            lines.append(b"Connection: close")
        elif request.minor == 0:
            lines.append(b"Connection: keep-alive")
        lines.append(b"\r\n")
        head = b"\r\n".join(lines)
        self.deadline = NEVER
        if bodyless or length == 0:
            self.upstream_keep = self.upstream_keep and not rest
            self.client.send(head)
            self._finish()
        elif length > 0:
            self.answering = COUNTED
            self.answer_left = length + len(head)
            self._answer_counted(memoryview(head + rest))
        else:
            self.answering = CHUNKED_BODY if length == CHUNKED else ENDLESS
            self.answer_chunks = Chunks() if length == CHUNKED else None
            fits = self.client.send(head)
            if rest:
                self._answer_stream(memoryview(rest))
            elif not fits and self.upstream is not None:
                self.upstream.pause()

    def _answer_counted(self, data: memoryview) -> None:
        if len(data) > self.answer_left:
            data = data[: self.answer_left]
            self.upstream_keep = False  # more than it said: nothing after this can be trusted
        self.answer_left -= len(data)
        fits = self.client.send(data)
        if not self.answer_left:
            self._finish()
        elif not fits and self.upstream is not None:
            self.upstream.pause()

    def _answer_stream(self, data: memoryview) -> None:
        payload: bytes | memoryview = data
        chunks = self.answer_chunks
        if chunks is not None:
            try:
                payload, data = chunks.feed(data)
            except BadChunk as error:
                self.gateway.loop.log.warning("answer-malformed", reason=str(error))
                self.close()
                return
        fits = True
        if payload:
            fits = (
                self.client.send_all(chunk(payload)) if self.framed else self.client.send(payload)
            )
        if chunks is not None and chunks.done:
            if data:
                self.upstream_keep = False
            if self.framed:
                self.client.send(LAST_CHUNK)
            self._finish()
        elif not fits and self.upstream is not None:
            self.upstream.pause()

    def _finish(self) -> None:
        """Go back to reading requests, or close, after the whole answer has been sent."""
        self._count(None)
        self.answering = IDLE
        self.answer_chunks = None
        self.reused = True
        if not self.upstream_keep:
            self._drop_upstream()
        if self.reading != DONE or not self.keep or self.client.ended:
            self._farewell()
            return
        self.request = None
        self.reading = HEAD
        self.gateway.loop.within(self, IDLE_SECONDS)
        if self.upstream is not None:
            self.upstream.resume()
        if self.client.backlog:
            self.client.pause()
            return
        self.client.resume()
        if self.held:
            self._consume()

    def answer(self, answer: Answer) -> None:
        """Answer by ourselves: nothing of an upstream's answer has been sent yet."""
        request = self.request
        minor = request.minor if request is not None else 1
        unread = self.reading != DONE
        close = unread or not self.keep or self.gateway.stopping
        data = answers.head(answer, close=close, minor=minor)
        if request is None or request.method != b"HEAD":
            data += answer.body
        self.keep = not close
        # An upstream that was in the middle of something cannot be used again.
        self.upstream_keep = self.answering < AWAITING
        self.deadline = NEVER
        self.cookie = b""
        self.client.send(data)
        self._finish()

    def _refuse(self, error: BadHead) -> None:
        """Answer what cannot be trusted, and close: where the next request begins is unknown."""
        self.keep = False
        if self.reading == HEAD:
            self.request = None
        if self.answering in (COUNTED, CHUNKED_BODY, ENDLESS):
            self.close()
            return
        self.answer(answers.note(error.status, "bad-request", error.reason))

    def _bad_gateway(self, reason: str) -> None:
        run = self.worker.run if self.worker is not None else "core"
        self.gateway.loop.log.warning("bad-gateway", run=run, reason=reason)
        self.answer(self._verdict(verdicts.bad_gateway(reason, "unavailable")))

    def _farewell(self) -> None:
        """Close such that our last words arrive: a close with unread bytes resets them away."""
        self._drop_upstream()
        if not self.client.backlog and self.reading == DONE and not self.held:
            self.close()
            return
        self.reading = CLOSING
        self.held = b""
        self.left = 0
        seconds = SLOW_LINGER_SECONDS if self.client.backlog else LINGER_SECONDS
        self.client.resume()
        self.client.finish()
        if self.client.ended and not self.client.backlog:
            self.close()
        elif self.deadline != GONE_FOR_GOOD:
            self.gateway.loop.within(self, seconds)

    def _switch(self, response: Response, rest: bytes) -> None:
        """Become a tunnel."""
        request, upstream, worker = self.request, self.upstream, self.worker
        if request is None or upstream is None or not request.websocket or not response.websocket:
            self._bad_gateway("it switched protocols without being asked")
            return
        lines = self._lines(response)
        lines.append(b"Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        self.client.send(b"\r\n".join(lines) + rest)
        if self.held:
            upstream.send(self.held)
        self._count(None)
        self.upstream = None
        self.deadline = GONE_FOR_GOOD
        self.request = None
        self.gateway.tunnel(self, upstream, worker)
