"""The way of a request to its upstream: by its target, its pin, or the core's word; sans-IO."""

from __future__ import annotations

import socket

from supervisor.gateway import answers, notice, verdicts
from supervisor.gateway.answering import AWAITING, DONE, OPENING
from supervisor.gateway.asking import Asking
from supervisor.gateway.fields import BadHead
from supervisor.gateway.head import Request
from supervisor.gateway.rewrite import pins, request_head, visitor_lines
from supervisor.gateway.route import Kind, is_navigation, route
from supervisor.gateway.sessions import WAITING, Worker, new_visitor
from supervisor.gateway.stream import Stream

CORE_SECONDS = 5  # for the core to come back before a request to it is given up
_READING = "GET, HEAD"
_METHODS = {Kind.RETRY: "POST", Kind.NOTICE: _READING, Kind.NOTICE_SCRIPT: _READING}
_ROOT = (b"", b"?")  # what follows the first slash in the address of a content itself


class Dispatch(Asking):
    """Routing and the connection to the upstream."""

    __slots__ = ()

    # Filled in by Exchange

    def _body_begins(self) -> None:
        raise NotImplementedError

    def _refuse(self, error: BadHead) -> None:
        raise NotImplementedError

    # Where to

    def _dispatch(self, request: Request) -> None:
        """Answer a request, or send it where its target says."""
        gateway = self.gateway
        site = gateway.site
        target = site.within(request.target) if site.base else request.target
        self.kind, self.guid, self.target = kind, _, _ = route(target)
        self.tries = 0
        if request.method in (b"CONNECT", b"TRACE"):
            self._refuse(BadHead(405, "this method is not served"))
        elif request.websocket and not site.same_origin(request):
            self.answer(answers.note(403, "not-allowed", "a page of another site asks"))
        elif kind is Kind.CONTENT:
            self._to_content(request)
        elif kind is Kind.CORE:
            self._go(None)
        elif kind is Kind.PING:
            self.answer(answers.ping())
        elif kind is Kind.NOTHING:
            self.answer(self._verdict({"as": "missing"}))
        elif kind in _METHODS:
            self._to_ourselves(request)
        elif kind is Kind.REDIRECT:
            self.answer(answers.redirect(site.base + self.target))
        else:
            self._wait_in_line(request)

    def _to_ourselves(self, request: Request) -> None:
        gateway = self.gateway
        if request.method.decode("ascii") not in _METHODS[self.kind].split(", "):
            self.answer(answers.wrong_method(_METHODS[self.kind]))
        elif self.kind is Kind.NOTICE_SCRIPT:
            self.answer(notice.script())
        elif self.kind is Kind.NOTICE:
            worker = gateway.sessions.workers.get(self.guid.decode("ascii"))
            self.answer(notice.news(worker, gateway.loop.now))
        elif not gateway.site.same_origin_form(request):
            self.answer(answers.note(403, "not-allowed", "a page of another site asks"))
        else:
            gateway.retry(self.guid)
            self.answer(answers.redirect(gateway.site.prefix(self.guid) + b"/", 303))

    def _believe(self, request: Request) -> None:
        """Take the client from what a trusted proxy says."""
        address = self.gateway.proxies.client(request, self.peer)
        if address != self.address:
            self.address, self.about_for = address, (b"", b"")

    def _to_content(self, request: Request) -> None:
        pin = self._pin(request)
        if pin is None:
            if pins(request) and not self.gateway.pins.ready:
                self._await_core()
                return
            self.visitor = new_visitor()
            self._ask(_want(request), None)
            return
        self.visitor = pin.visitor
        worker = self.gateway.sessions.workers.get(pin.run)
        if worker is None or worker.guid != self.guid or self._takes_a_seat(request):
            self._ask(_want(request), pin.run if pin.run != WAITING else None)
        else:
            if request.websocket:
                self._sit(self.gateway.seats.name(), worker)
            self._go(worker)

    def _takes_a_seat(self, request: Request) -> bool:
        """Whether the core must be asked, whatever the pin says.

        It alone grants seats, and may want a new page, which is a new session, elsewhere. While
        none lives, pins decide.
        """
        return (
            request.websocket or (self.target[1:2] in _ROOT and is_navigation(request))
        ) and self.gateway.core_is_near

    def _wait_in_line(self, request: Request) -> None:
        _, _, value = request.target.partition(b"?pin=")
        if value and not self.gateway.pins.ready:
            self._await_core()
            return
        pin = self.gateway.pins.verify(self.guid, value, self.gateway.loop.wall)
        if pin is None:  # only who was shown the page has a place: let them load it
            text = "this address holds no place in line; load the page again"
            self.answer(answers.note(409, "conflict", text, as_json=True))
            return
        self.visitor = pin.visitor
        self._ask("wait", None)

    # The upstream

    def _go(self, worker: Worker | None) -> None:
        """Send the request to a worker, or to the core."""
        same = self.worker is worker
        self.worker = worker
        if worker is not None:
            worker.requests += 1
            worker.total += 1
            self.gateway.changed(worker)
        if self.upstream is not None:
            if same:
                self._forward(self.upstream)
                return
            self._drop_upstream()
        self._open()

    def _uncount(self) -> None:
        """Take the request out of its worker's count."""
        worker = self.worker
        if worker is not None and self.answering >= OPENING:
            worker.requests -= 1
            self.gateway.changed(worker)

    def _open(self) -> None:
        self.answering = OPENING
        if self.reading != DONE:
            self.client.pause()
        self.gateway.open(self.worker, self)

    def plugged(self, sock: socket.socket) -> None:
        """Take the connection that `open` was asked for."""
        self.connected(Stream(self.gateway.loop, sock, self))  # type: ignore[arg-type]

    def connected(self, stream: Stream) -> None:
        """Send the request over a new stream."""
        self.upstream = stream
        self.reused = False
        self._forward(stream)

    def unconnected(self, code: str, reason: str) -> None:
        """Learn that no connection could be made; nothing of the request has been sent."""
        worker, request = self.worker, self.request
        assert request is not None
        if worker is None:
            self.answer(self._verdict(verdicts.core_away()))
            return
        self._warn("worker-unreachable", run=worker.run, reason=reason)
        self.gateway.unreachable(worker, reason)
        if code == "unavailable" and self.tries == 0:
            self.tries = 1
            if self.seat is not None:
                self._stand_up()
            self._uncount()
            self._ask(_want(request), None)
        else:
            self.answer(self._verdict(verdicts.bad_gateway(reason, code)))

    def _forward(self, upstream: Stream) -> None:
        request, worker = self.request, self.worker
        assert request is not None
        if self.about_for != (self.guid, request.host):
            self.about_for = (self.guid, request.host)
            self.about = visitor_lines(self.gateway.site, self.address, request.host, self.guid)
        self.answering = AWAITING
        if worker is None:
            self.gateway.loop.within(self, CORE_SECONDS)
        plain = notice.is_for(worker, request)
        about = b"X-Request-ID: %b\r\n%b" % (self.name, self.about)
        upstream.send(request_head(request, self.target, about, worker is not None, plain))
        if self.reading != DONE:
            self._body_begins()

    def _retry(self) -> bool:
        """Send again what an idle connection swallowed by closing just then, if that is safe."""
        request = self.request
        if (
            self.answering != AWAITING
            or not self.reused
            or self.partial
            or request is None
            or request.length
            or request.websocket
            or request.method not in (b"GET", b"HEAD")
        ):
            return False
        self._drop_upstream()
        self._open()
        return True


def _want(request: Request) -> str:
    if request.websocket:
        return "socket"
    return "page" if is_navigation(request) else "request"
