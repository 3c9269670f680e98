"""/v1/supervisor/gc and /backup: what is not needed goes, and everything else in one archive."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.logs import PieceStream
from supervisor.api.requests import service_of
from supervisor.core.retention import Going


async def look(request: Request) -> Response:
    """List what is not needed any more and would go."""
    return answer([going_shape(going) for going in await service_of(request).clean(dry=True)])


async def clean(request: Request) -> Response:
    """Remove what is not needed any more, and list it."""
    return answer([going_shape(going) for going in await service_of(request).clean()])


async def backup(request: Request) -> Response:
    """Make a backup of the whole server: a tar archive, complete if its last member is end.json."""
    # a POST, though nothing changes: who has taken all secrets along stands in the audit log
    return PieceStream(service_of(request).backup(), "application/x-tar")


def going_shape(going: Going) -> dict[str, Any]:
    """Give one thing that goes. size is null where only the owner of the files could know it."""
    return {
        "kind": going.kind,
        "name": going.name,
        "content": going.content,
        "size": going.size,
        "reason": going.reason,
    }


ROUTES = [
    Route("/v1/supervisor/gc", look, methods=["GET"]),
    Route("/v1/supervisor/gc", clean, methods=["POST"]),
    Route("/v1/supervisor/backup", backup, methods=["POST"]),
]
