"""/v1/supervisor/path: where a file of a sandbox lies on disk, and the other way round."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor.api.answers import answer
from supervisor.api.requests import service_of, settings_of
from supervisor.core.service import Service
from supervisor.errors import SupervisorError
from supervisor.paths import Known, ways
from supervisor.wire import to_json


async def show(request: Request) -> Response:
    """Give the physical path of a sandbox's `path` and back; `content` or `run` fills the gaps."""
    query, settings = request.query_params, settings_of(request)
    known = await _known(service_of(request), query.get("content"), query.get("run"))
    try:
        found = ways(
            query.get("path", ""),
            data_dir=settings.data_dir,
            run_dir=settings.run_dir,
            known=known,
            mounts=settings.site_mounts,
        )
    except ValueError as error:
        raise SupervisorError("bad-request", f"{error}.") from None
    return answer([to_json(way) for way in found])


async def _known(service: Service, content: str | None, run: str | None) -> Known:
    """Give what is known of a run, or of the deployment that a content serves.

    Raises SupervisorError("not-found") for a run or content that is not known.
    """
    if run is not None:
        views = await service.runs(content, ended=True)
        found = [view for view in views if view.run.id.startswith(run)]
        if len(found) != 1:
            what = "no run" if not found else "more than one run"
            raise SupervisorError("not-found", f"There is {what} whose id begins with {run!r}.")
        (one,) = found
        return Known(
            content=one.run.content,
            guid=one.content_guid,
            name=one.content_name,
            deployment=one.run.deployment,
            run=one.run.id,
        )
    if content is not None:
        whole = (await service.content(content)).content
        return Known(
            content=whole.id,
            guid=whole.guid,
            name=whole.name,
            deployment=whole.active_deployment,
        )
    return Known()


ROUTES = [Route("/v1/supervisor/path", show, methods=["GET"])]
