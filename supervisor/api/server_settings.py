"""/server_settings: what clients must know before they sign in. Open to everybody."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.requests import settings_of

# Clients switch features on by this number: later ones expect drafts, which we do not have.
COMPATIBLE_VERSION = "2025.05.0"


async def read(request: Request) -> Response:
    """Give the settings that say nothing about the host."""
    return answer(
        {
            "version": COMPATIBLE_VERSION,
            "system_display_name": "content-supervisor",
            "dashboard_path": "/",
            "authentication": {"handles_credentials": False, "handles_login": False},
            "git_enabled": False,
            "mail_configured": False,
            "supervisor": {"max_bundle": settings_of(request).max_bundle},
        }
    )


ROUTES = [Route("/server_settings", read, methods=["GET"])]
