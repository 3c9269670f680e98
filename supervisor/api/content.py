"""/v1/content: list, create, read, change, remove."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.adjust import PUBLIC, adjust, read_change
from supervisor.api.answers import answer
from supervisor.api.audit import note
from supervisor.api.requests import read_json, service_of, text_field
from supervisor.api.shapes import content_shape


async def index(request: Request) -> Response:
    """List the contents; `name` keeps the one of exactly that name, as clients expect."""
    views = await service_of(request).contents()
    name = request.query_params.get("name")
    return answer([content_shape(v) for v in views if name is None or v.content.name == name])


async def create(request: Request) -> Response:
    """Make an empty content: {"name", "title"?}."""
    body = await read_json(request)
    service = service_of(request)
    content = await service.create_content(text_field(body, "name"), text_field(body, "title", ""))
    note(request, ref=content.guid, name=content.name)
    return answer(content_shape(await service.content(content.guid)), 201)


async def read(request: Request) -> Response:
    """Give one content by guid, name or id."""
    return answer(content_shape(await service_of(request).content(request.path_params["ref"])))


async def update(request: Request) -> Response:
    """Change title and scaling. Other fields are refused, so that nobody believes in them."""
    change = read_change(await read_json(request), PUBLIC)
    note(request, **{f"set_{name}": value for name, value in change.items()})
    return answer(content_shape(await adjust(request, request.path_params["ref"], change)))


async def remove(request: Request) -> Response:
    """Stop the content and remove it with its files."""
    await service_of(request).remove(request.path_params["ref"])
    return Response(status_code=204)


ROUTES = [
    Route("/v1/content", index, methods=["GET"]),
    Route("/v1/content", create, methods=["POST"]),
    Route("/v1/content/{ref}", read, methods=["GET"]),
    Route("/v1/content/{ref}", update, methods=["PATCH"]),
    Route("/v1/content/{ref}", remove, methods=["DELETE"]),
]
