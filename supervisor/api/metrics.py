"""What Prometheus is told: asked of the gateway's own listener for it, or by an administrator."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.errors import SupervisorError
from supervisor.exposition import CONTENT_TYPE

# The gateway asks for this path on behalf of its metrics listener, and lets no visitor do so.
PATH = "/__metrics__"


async def read(request: Request) -> Response:
    """Give all figures in the text form of Prometheus."""
    figures = request.app.state.figures
    if figures is None:
        raise SupervisorError("unavailable", "nothing is counted here")
    return Response(await figures(), media_type=CONTENT_TYPE)


ROUTES = [Route("/v1/supervisor/metrics", read, methods=["GET"])]
