"""/v1/content/{guid}/bundles and /deploy: upload a version, make it the one that is served."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.audit import note
from supervisor.api.requests import announced, bounded, read_json, service_of, settings_of
from supervisor.api.shapes import bundle_shape
from supervisor.errors import SupervisorError


async def upload(request: Request) -> Response:
    """Store the body, a tar.gz, chunk by chunk: never more of it in memory than a few reads."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        raise SupervisorError("bad-request", "Send the tar.gz itself as the body, not a form.")
    service = service_of(request)
    view = await service.content(request.path_params["ref"])
    most = settings_of(request).max_bundle
    note(request, ref=view.content.guid, name=view.content.name)
    size = announced(request, most)  # before its room on the disk: that may be there tomorrow
    bundle = await service.receive_bundle(view.content.guid, bounded(request, most), size=size)
    note(request, bundle=bundle.id, digest=bundle.digest, bytes=bundle.size)
    return answer(bundle_shape(bundle, view.content.guid))


async def deploy(request: Request) -> Response:
    """Start to serve a bundle: {"bundle_id"}; null or missing means the newest."""
    body = await read_json(request)
    if body.get("activate") is False:
        raise SupervisorError("bad-request", "This server deploys no drafts; leave 'activate' out.")
    bundle = _bundle_id(body.get("bundle_id"))
    task = await service_of(request).deploy(request.path_params["ref"], bundle)
    note(request, bundle=task.bundle, task=task.id)
    return answer({"task_id": task.id}, 202)


def _bundle_id(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not str(value).isascii() or not str(value).isdigit():
        raise SupervisorError("bad-request", "The field 'bundle_id' must be the id of a bundle.")
    return int(str(value))


ROUTES = [
    Route("/v1/content/{ref}/bundles", upload, methods=["POST"]),
    Route("/v1/content/{ref}/deploy", deploy, methods=["POST"]),
]
