"""/v1/tasks/{id}: what clients poll while a deployment goes on."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.requests import number_parameter, service_of
from supervisor.api.shapes import task_shape

LONGEST_WAIT = 60.0  # seconds


async def read(request: Request) -> Response:
    """Give the task's output from line `first` on; `wait` up to so many seconds for news."""
    first = int(number_parameter(request, "first", 0, most=2**31))
    wait = number_parameter(request, "wait", 0.0, most=LONGEST_WAIT)
    task = await service_of(request).task(request.path_params["id"], first=first, wait=wait)
    return answer(task_shape(task, first))


ROUTES = [Route("/v1/tasks/{id}", read, methods=["GET"])]
