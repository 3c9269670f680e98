"""/v1/supervisor/logs/{ref}: lines of runs as NDJSON, and with `follow` those still to come."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import trio
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from supervisor.api.answers import error_answer
from supervisor.api.requests import flag_parameter, number_parameter, service_of
from supervisor.core.service import LogLine
from supervisor.errors import SupervisorError
from supervisor.wire import encode

MOST_LINES = 100_000
HEAD_AFTER = 0.25  # seconds: a silent log is answered too, an unknown one still with its status


class PieceStream(Response):
    """Send pieces as they come, until they end or the client goes."""

    def __init__(self, pieces: AsyncGenerator[bytes, None], media_type: str) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self.headers["cache-control"] = "no-store"
        self._pieces = pieces
        self._started = False
        self._lock = trio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run until the pieces end; their source is closed in every case."""
        async with trio.open_nursery() as nursery:

            async def watch_client() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                nursery.cancel_scope.cancel()

            async def start_soon() -> None:
                await trio.sleep(HEAD_AFTER)
                await self._send(send, b"")

            nursery.start_soon(watch_client)
            nursery.start_soon(start_soon)
            try:
                async with aclosing(self._pieces) as pieces:
                    async for piece in pieces:
                        await self._send(send, piece)
                await self._send(send, b"", last=True)
            except SupervisorError as error:
                if not self._started:
                    nursery.cancel_scope.cancel()
                    with trio.CancelScope(shield=True):
                        await error_answer(error)(scope, receive, send)
                else:
                    await self._send(send, encode(error.as_json()) + b"\n", last=True)
            nursery.cancel_scope.cancel()

    async def _send(self, send: Send, body: bytes, *, last: bool = False) -> None:
        async with self._lock:
            if not self._started:
                self._started = True
                await send(
                    {
                        "type": "http.response.start",
                        "status": self.status_code,
                        "headers": self.raw_headers,
                    }
                )
            await send({"type": "http.response.body", "body": body, "more_body": not last})


async def _encoded(lines: AsyncGenerator[LogLine, None]) -> AsyncGenerator[bytes, None]:
    async with aclosing(lines):
        async for line in lines:
            yield encode(line) + b"\n"


async def read(request: Request) -> Response:
    """Give the last `tail` lines of a run or a content, then with `follow` the next ones."""
    tail = int(number_parameter(request, "tail", 100, most=MOST_LINES))
    follow = flag_parameter(request, "follow")
    lines = service_of(request).logs(request.path_params["ref"], follow=follow, tail=tail)
    return PieceStream(_encoded(lines), "application/x-ndjson")


ROUTES = [Route("/v1/supervisor/logs/{ref}", read, methods=["GET"])]
