"""The way of a request to its upstream: by its target, its pin, or the core's word; sans-IO."""

from __future__ import annotations

import socket
from typing import Any

from supervisor.gateway import answers, notice, verdicts
from supervisor.gateway.answering import ASKING, AWAITING, DONE, OPENING, Answering
from supervisor.gateway.fields import BadHead
from supervisor.gateway.head import Request
from supervisor.gateway.loop import NEVER
from supervisor.gateway.rewrite import pins, request_head, visitor_lines
from supervisor.gateway.route import Kind, is_navigation, route
from supervisor.gateway.sessions import Worker, new_visitor
from supervisor.gateway.stream import Stream

CORE_SECONDS = 5  # for the core to come back before a request to it is given up
_READING = "GET, HEAD"
_METHODS = {Kind.RETRY: "POST", Kind.NOTICE: _READING, Kind.NOTICE_SCRIPT: _READING}


class Dispatch(Answering):
    """Routing, the question to the core, the connection to the upstream."""

    __slots__ = ()

    # Filled in by Exchange

    def _body_begins(self) -> None:
        raise NotImplementedError

    def _refuse(self, error: BadHead) -> None:
        raise NotImplementedError

    def overdue(self) -> None:
        """End what takes too long."""
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
            self.visitor = new_visitor()
            self._ask("request", None)

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

    def _to_content(self, request: Request) -> None:
        gateway = self.gateway
        found = pins(request)
        pin = gateway.pins.first(self.guid, found, gateway.loop.wall) if found else None
        if pin is None:
            self.visitor = new_visitor()
            self._ask(_want(request), None)
            return
        self.visitor = pin.visitor
        worker = gateway.sessions.workers.get(pin.run)
        # A new page belongs on a worker that stays; what an old page asks for does not.
        if (
            worker is not None
            and worker.guid == self.guid
            and not (worker.draining and is_navigation(request))
        ):
            self._go(worker)
            return
        self._ask(_want(request), pin.run)

    def _ask(self, want: str, run: str | None) -> None:
        self.answering = ASKING
        if self.reading != DONE:
            self.client.pause()
        self.gateway.loop.within(self, self.gateway.wait)
        self.gateway.ask(self, self.guid, want, self.visitor, run)

    def answered(self, message: dict[str, Any]) -> None:
        """Take the core's answer to our question."""
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
        self.gateway.unreachable(worker, reason)
        if code == "unavailable" and self.tries == 0:
            self.tries = 1
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
        upstream.send(request_head(request, self.target, self.about, worker is not None))
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
