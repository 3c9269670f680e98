"""/v1/supervisor/overview and /sessions: what runs and who uses it, for the live screens."""

from __future__ import annotations

import time

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.requests import service_of
from supervisor.api.shapes import load_shape, run_shape, session_shape, timestamp

ASLEEP = frozenset({"sleeping", "stopped", "empty", "elsewhere"})


async def overview(request: Request) -> Response:
    """Give the living runs and the contents that do something, at one moment.

    clock: seconds of a clock that only goes on, when `cpu` was read: the difference of two answers
    is a share of a processor, however long they were on their way.
    """
    service = service_of(request)
    before = time.monotonic()
    runs = await service.runs()
    after = time.monotonic()
    contents = await service.contents()
    awake = [v for v in contents if v.processes or v.waiting or v.state not in ASLEEP]
    return answer(
        {
            "clock": round((before + after) / 2, 6),
            "time": timestamp(time.time()),
            "published": len(contents),
            "contents": [load_shape(view) for view in awake],
            "runs": [run_shape(view) for view in runs],
        }
    )


async def sessions(request: Request) -> Response:
    """List the seats that are taken and the visitors in line, of one `content` or of all."""
    ref = request.query_params.get("content")
    service = service_of(request)
    guid = None if ref is None else (await service.content(ref)).content.guid
    return answer([session_shape(view) for view in await service.sessions(guid)])


ROUTES = [
    Route("/v1/supervisor/overview", overview, methods=["GET"]),
    Route("/v1/supervisor/sessions", sessions, methods=["GET"]),
]
