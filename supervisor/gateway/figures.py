"""The connections of the metrics listener: they lead to the core's figures and nowhere else."""

from __future__ import annotations

from supervisor.gateway import answers
from supervisor.gateway.answering import NOT_BEGUN
from supervisor.gateway.exchange import Exchange
from supervisor.gateway.head import Request
from supervisor.gateway.route import METRICS, Kind


class FiguresExchange(Exchange):
    """Answers `GET /metrics`. What is asked here is no visit: no log and no count has it."""

    __slots__ = ()

    def _dispatch(self, request: Request) -> None:
        self.kind, self.guid, self.target, self.tries = Kind.CORE, b"", METRICS, 0
        if request.target.partition(b"?")[0] != b"/metrics":
            self.answer(answers.note(404, "not-found", "only /metrics is here"))
        elif request.method != b"GET" or request.websocket:
            self.answer(answers.wrong_method("GET"))
        else:
            self._go(None)

    def _note(self) -> None:
        self.began = NOT_BEGUN
