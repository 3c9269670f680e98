"""/v1/supervisor/doctor, /plugins, /leases: what the server thinks of its host and its parts."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.requests import service_of
from supervisor.wire import to_json


async def findings(request: Request) -> Response:
    """Give the findings of the core and of every plugin."""
    return answer([to_json(finding) for finding in await service_of(request).findings()])


async def plugins(request: Request) -> Response:
    """Give every installed plugin, also those that failed."""
    return answer([to_json(plugin) for plugin in await service_of(request).plugins()])


async def leases(request: Request) -> Response:
    """Give who holds what; `left` is in seconds, below 0 for what has ended."""
    return answer([to_json(lease) for lease in await service_of(request).leases()])


ROUTES = [
    Route("/v1/supervisor/leases", leases, methods=["GET"]),
    Route("/v1/supervisor/doctor", findings, methods=["GET"]),
    Route("/v1/supervisor/plugins", plugins, methods=["GET"]),
]
