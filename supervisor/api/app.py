"""build_app: the routes, behind one gate that tells administrators from visitors."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial

import attrs
import trio
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from supervisor.api import (
    adjust,
    bundles,
    config,
    content,
    doctor,
    logs,
    metrics,
    overview,
    paths,
    runs,
    server_settings,
    tasks,
    upkeep,
)
from supervisor.api.access import ApiSettings, is_administrator
from supervisor.api.answers import error_answer, internal_error
from supervisor.api.audit import Audit, Parent, note
from supervisor.api.exchange import Disconnected
from supervisor.api.requests import service_of
from supervisor.core.configured import Configured
from supervisor.core.service import Service
from supervisor.errors import SupervisorError
from supervisor.log import Log
from supervisor.pages.index import Index
from supervisor.settings import Settings

OPEN_PATHS = frozenset({"/", "/__api__/server_settings"})

API_ROUTES = [
    *server_settings.ROUTES,
    *content.ROUTES,
    *bundles.ROUTES,
    *tasks.ROUTES,
    *runs.ROUTES,
    *overview.ROUTES,
    *adjust.ROUTES,
    *logs.ROUTES,
    *doctor.ROUTES,
    *metrics.ROUTES,
    *paths.ROUTES,
    *upkeep.ROUTES,
    *config.ROUTES,
]


def build_app(
    service: Service,
    settings: ApiSettings,
    log: Log,
    parent: Parent | None = None,
    configured: Configured | None = None,
    figures: Callable[[], Awaitable[bytes]] | None = None,
) -> Starlette:
    """Make the ASGI application. It reads who asks from scope["extensions"].

    With `configured`, what it knows of the settings follows them.
    """

    async def failed(request: Request, error: Exception) -> Response:
        if isinstance(error, Disconnected):  # nobody is left to answer, and nothing is wrong
            return Response(status_code=400)
        return internal_error(error, log, request.scope)

    app = Starlette(
        routes=[
            Route("/", index, methods=["GET"]),
            Route(metrics.PATH, metrics.read, methods=["GET"]),
            Mount("/__api__", routes=API_ROUTES),
        ],
        middleware=[
            Middleware(Audit, parent=parent, gateway_uid=settings.gateway_uid),
            Middleware(Gate, settings=settings),
        ],
        exception_handlers={
            SupervisorError: _refused,
            HTTPException: _not_routed,
            Exception: failed,
        },
    )
    app.router.redirect_slashes = False
    app.state.service = service
    app.state.settings = settings
    app.state.parent = parent
    app.state.figures = figures
    app.state.index = Index(settings.templates)
    app.state.adjusting = trio.Lock()
    app.state.configured = configured
    if configured is not None:
        configured.follow(partial(_follow, app))
    return app


def _follow(app: Starlette, settings: Settings) -> None:
    fresh = attrs.evolve(
        app.state.settings, scheduler=settings.scheduler, templates=settings.templates
    )
    if fresh.templates != app.state.settings.templates:
        app.state.index = Index(fresh.templates)
    app.state.settings = fresh


async def index(request: Request) -> Response:
    """The page of all contents."""
    page: Index = request.app.state.index
    views = await service_of(request).contents()
    return HTMLResponse(page.render(views), headers=page.headers)


class Gate:
    """Let administrators pass, and visitors to what is open to all; answer 401 otherwise."""

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Judge one request."""
        if scope["type"] != "http":
            return
        peer = scope["extensions"]["supervisor.identity"]
        # As it was sent: only in this very spelling the gateway keeps visitors from it.
        of_metrics = scope["raw_path"] == metrics.PATH.encode()
        shown = Headers(scope=scope).get("authorization", "")
        if (
            of_metrics
            or scope["path"] in OPEN_PATHS
            or is_administrator(peer, shown, self._settings)
        ):
            await self._app(scope, receive, send)
            return
        refusal = SupervisorError(
            "not-signed-in",
            "Only an administrator of this server may do this.",
            hint="Be root or a member of the administrators' group on the server itself.",
        )
        await error_answer(refusal)(scope, receive, send)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, SupervisorError)
    note(request, code=error.code)
    ours = request.scope["path"].startswith("/__api__/v1/supervisor/")
    return error_answer(error, numbered=not ours)


async def _not_routed(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, method = request.scope["path"], request.method
    if error.status_code == 405:
        refusal = SupervisorError("bad-request", f"{path} does not take {method}.")
        response = error_answer(refusal)
        response.status_code = 405
        response.headers.update(error.headers or {})
        return response
    return error_answer(SupervisorError("not-found", f"There is nothing at {path}."))
