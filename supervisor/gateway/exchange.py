"""One client connection: request → route → upstream → response, again and again, sans-IO.

Bytes come in by `received`; what to do goes out as calls on two streams and on the gateway, so that
tests drive it with recorders. After 101 the two streams are handed to a Tunnel.
"""

from __future__ import annotations

from supervisor.gateway import answers, verdicts
from supervisor.gateway.answering import (
    ASKING,
    AWAITING,
    BODY,
    CHUNKS,
    CLOSING,
    COUNTED,
    DONE,
    HEAD,
    IDLE,
    NOT_BEGUN,
    OPENING,
)
from supervisor.gateway.body import LAST_CHUNK, BadChunk, Chunks, chunk
from supervisor.gateway.dispatch import CORE_SECONDS, Dispatch
from supervisor.gateway.fields import CHUNKED, BadHead
from supervisor.gateway.head import HEAD_LIMIT, Request, parse_request
from supervisor.gateway.loop import GONE_FOR_GOOD, NEVER
from supervisor.gateway.route import Kind, wants_events
from supervisor.gateway.stream import Stream

HEAD_SECONDS = 10  # to complete a head once it has begun
BODY_SECONDS = 60  # for the next piece of a request's body
FIRST_SECONDS = 1  # for the first request, where no more connections are accepted
IDLE_SECONDS = 75  # between requests
LINGER_SECONDS = 2  # for a client to read our last words
SLOW_LINGER_SECONDS = 60  # the same, where it has not even taken what went before
_LINGER_BYTES = 1 << 20  # of a request that nobody wants, before we stop reading it


class Exchange(Dispatch):
    """A client's stream, at most one upstream's stream, and the request between them."""

    __slots__ = ()

    @property
    def idle(self) -> bool:
        """Whether no request is under way, nor has one come that nobody has read yet."""
        return (
            self.reading == HEAD
            and not self.held
            and self.client.unsent is None
            and not self.client.has_input()
        )

    def retire(self) -> None:
        """Take no further request: close now where none is under way or about to come."""
        if self.idle and self.name:
            self.close()
        elif self.idle:  # who has just connected is about to ask
            self.gateway.loop.within(self, FIRST_SECONDS)

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
            if self.left > _LINGER_BYTES:
                self.close()
        elif self.reading == DONE or self.answering < AWAITING:
            self.held += bytes(data)  # pipelined, or a body that has nowhere to go yet
            self.client.pause()
        else:
            self._body(data)

    def ended(self, stream: Stream) -> None:
        """Learn that the client or the upstream has ended its side."""
        if stream is not self.client:
            if not self._retry():
                self._upstream_ended()
        elif self.reading == CLOSING and self.client.unsent is not None:
            pass  # it still reads
        elif self.reading != DONE or self._wants_more():
            self.close()  # idle, or a request that will never be complete or of use

    def _wants_more(self) -> bool:
        """Say whether an answer is of use only to a client that goes on."""
        # half a session would hold a seat, a waiting page that was closed a place in line, and a
        # stream of events without a listener its process
        request = self.request
        lasts = request is not None and (request.websocket or wants_events(request))
        return self.kind is Kind.WAIT or lasts

    def vanished(self, stream: Stream) -> None:
        """Drop everything for a client that is gone; an upstream is read to its end first."""
        if stream is self.client:
            self.close()

    def drained(self, stream: Stream) -> None:
        """Go on with what was stopped by back-pressure."""
        if stream is not self.client:
            if self.reading in (BODY, CHUNKS):
                self.client.resume()
                self._await_body()
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
        elif self.answering == AWAITING and self.reading in (BODY, CHUNKS):
            self._refuse(BadHead(408, f"the request's body stopped for {BODY_SECONDS} seconds"))
        else:
            self.close()

    def close(self) -> None:
        """Close both streams and forget the request. Closing twice is fine."""
        if self.deadline == GONE_FOR_GOOD:
            return
        self.deadline = GONE_FOR_GOOD
        if self.answering in (ASKING, OPENING):
            self.gateway.forget(self)
        if self.seat is not None:
            self._stand_up()
        self._uncount()
        if self.began != NOT_BEGUN:
            self._note()
        self._drop_upstream()
        if self.client.sink is self:  # not a tunnel's by now
            self.client.close()
        self.request = None
        self.held = self.about = b""  # the wheel may keep this object for a while
        self.gateway.left(self)

    # The request

    def _consume(self) -> None:
        """Take requests from what is held, one after another."""
        if self.consuming:
            return
        self.consuming = True
        while self.held and self.reading == HEAD and self.client.unsent is None:
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
        elif self.deadline - self.gateway.loop.now > HEAD_SECONDS + 1:
            self.gateway.loop.within(self, HEAD_SECONDS)

    def _begin(self, request: Request) -> None:
        gateway = self.gateway
        self.request = request
        self.keep = request.keep_alive
        self.deadline = NEVER
        self.name = gateway.ids.of(request, self.trusted)
        self.began = gateway.loop.now
        self.status = 0
        if self.trusted:
            self._believe(request)
        if request.length == 0:
            self.reading = DONE
        elif request.length == CHUNKED:
            self.reading = CHUNKS
            self.chunks = Chunks()
        else:
            self.reading = BODY
            self.left = request.length
        self._dispatch(request)

    def _body_begins(self) -> None:
        """Pass on what of the body is here, and read the rest."""
        self.client.resume()
        self._await_body()
        if self.held:
            data, self.held = memoryview(self.held), b""
            self._body(data)

    def _await_body(self) -> None:
        """Give the client time for the next piece; without end it would hold the worker."""
        if self.answering == AWAITING and self.worker is not None:
            self.gateway.loop.within(self, BODY_SECONDS)

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
            self._computes()
            if data:
                self.held = bytes(data)
                self.client.pause()
        elif fits:
            self._await_body()
        else:
            self._computes()
            self.client.pause()

    def _computes(self) -> None:
        """Let the worker, not the client, take the time it needs."""
        if self.answering == AWAITING and self.worker is not None:
            self.deadline = NEVER

    def _refuse(self, error: BadHead) -> None:
        """Answer what cannot be trusted, and close: where the next request begins is unknown."""
        self.keep = False
        if self.reading == HEAD:
            self.request = None
            self.name = self.gateway.ids.new()
            self.began = self.gateway.loop.now
        if self.answering >= COUNTED:
            self.close()
        else:
            self.answer(answers.note(error.status, "bad-request", error.reason))

    # The end of an answer

    def _finish(self) -> None:
        """Go back to reading requests, or close, after the whole answer has been sent."""
        self._uncount()
        self._note()
        self.answering = IDLE
        self.reused = True
        # The core's connections are few and for everybody; idle visitors must not hold them.
        if self.worker is None or not self.upstream_keep:
            self._drop_upstream()
        client = self.client
        if self.reading != DONE or not self.keep or client.ended:
            self._farewell()
            return
        self.request = None
        self.answer_chunks = None
        self.reading = HEAD
        self.gateway.loop.within(self, IDLE_SECONDS)
        if self.upstream is not None and self.upstream.paused:
            self.upstream.resume()
        if client.unsent is not None:
            client.pause()
            return
        if client.paused:
            client.resume()
        if self.held:
            self._consume()

    def _farewell(self) -> None:
        """Close such that our last words arrive: a close with unread bytes resets them away."""
        self._drop_upstream()
        client = self.client
        if client.unsent is None and (client.ended or (self.reading == DONE and not self.held)):
            self.close()
            return
        self.reading = CLOSING
        self.held = b""
        self.left = 0
        self.gateway.loop.within(
            self, LINGER_SECONDS if client.unsent is None else SLOW_LINGER_SECONDS
        )
        client.resume()
        client.finish()
