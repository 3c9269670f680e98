"""/v1/supervisor/config: what the settings are and where they come from; reading the file again."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.core.configured import Configured
from supervisor.errors import SupervisorError


async def config_show(request: Request) -> Response:
    """Give every setting: its value (secrets masked), its origin, what a change needs."""
    return answer({"settings": _configured(request).shown()})


async def config_reload(request: Request) -> Response:
    """Read the settings file again: keys that may change are in force, the others are named."""
    return answer(await _configured(request).reload())


def _configured(request: Request) -> Configured:
    configured = request.app.state.configured
    if not isinstance(configured, Configured):
        raise SupervisorError("unavailable", "this server was started without settings")
    return configured


ROUTES = [
    Route("/v1/supervisor/config", config_show, methods=["GET"]),
    Route("/v1/supervisor/config/reload", config_reload, methods=["POST"]),
]
