"""/v1/supervisor/runs, and what can be done to runs, contents and the server."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.audit import Parent
from supervisor.api.requests import flag_field, flag_parameter, read_json, service_of
from supervisor.api.shapes import run_shape
from supervisor.errors import SupervisorError


async def index(request: Request) -> Response:
    """List the living runs, newest first; of one `content`; with `ended` also those that ended."""
    ref = request.query_params.get("content")
    views = await service_of(request).runs(ref, ended=flag_parameter(request, "ended"))
    return answer([run_shape(view) for view in views])


async def kill(request: Request) -> Response:
    """End a run's whole process tree at once."""
    await service_of(request).kill(request.path_params["ref"])
    return answer({})


async def stop(request: Request) -> Response:
    """Stop a run, or a content until its restart."""
    await service_of(request).stop(request.path_params["ref"])
    return answer({})


async def restart(request: Request) -> Response:
    """Start a content anew; {"rolling": true}: without ending a session before its time."""
    rolling = flag_field(await read_json(request), "rolling")
    await service_of(request).restart(request.path_params["ref"], rolling=rolling)
    return answer({})


async def reload(request: Request) -> Response:
    """Replace all parts of the server by what is installed now, in place."""
    await service_of(request).reload()
    return answer({})


async def reopen_logs(request: Request) -> Response:
    """Open the files of all logs again, after they were moved."""
    parent: Parent | None = request.app.state.parent
    if parent is None:
        raise SupervisorError("unavailable", "this core runs without a parent")
    await parent.reopen_logs()
    return answer({})


ROUTES = [
    Route("/v1/supervisor/runs", index, methods=["GET"]),
    Route("/v1/supervisor/runs/{ref}/kill", kill, methods=["POST"]),
    Route("/v1/supervisor/runs/{ref}/stop", stop, methods=["POST"]),
    Route("/v1/supervisor/content/{ref}/stop", stop, methods=["POST"]),
    Route("/v1/supervisor/content/{ref}/restart", restart, methods=["POST"]),
    Route("/v1/supervisor/reload", reload, methods=["POST"]),
    Route("/v1/supervisor/reopen-logs", reopen_logs, methods=["POST"]),
]
