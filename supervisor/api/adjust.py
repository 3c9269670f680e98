"""/v1/supervisor/content/{ref}: all that can be set of a content, and where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import attrs
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from supervisor import bounds, limits
from supervisor.api.access import ApiSettings
from supervisor.api.answers import answer
from supervisor.api.audit import note
from supervisor.api.requests import read_json, service_of, settings_of
from supervisor.core.service import Assignment, ContentView, Service
from supervisor.errors import SupervisorError
from supervisor.limits import Allowed
from supervisor.model import Limits, Overrides, Scaling
from supervisor.network import Egress, effective
from supervisor.settings.sections import Scheduler

LONGEST_TITLE = 1024
_MOST = 2**31
_LARGEST = 2.0**53


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > _LARGEST:
        raise ValueError("must be a number or null")
    return float(value)


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= _MOST:
        raise ValueError("must be a whole number or null")
    return value


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST:
        raise ValueError("must be a whole number or null")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("must be true, false or null")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError("must be a name or null")
    return value


def _title(value: object) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TITLE:
        raise ValueError(f"must be a text of at most {LONGEST_TITLE} characters")
    return value


def _egress(value: object) -> Egress:
    try:
        return Egress(str(value).lower())
    except ValueError:
        raise ValueError(f"must be one of {', '.join(Egress)} or null") from None


# what the field of a scaling holds → how a value of the body becomes one
_READERS: dict[str, Callable[[object], object]] = {
    "least": _whole,
    "most": _whole,
    "sessions_each": _whole,
    "notice": _flag,
    **dict.fromkeys(limits.NAMES, _count),
    "cpu": _number,
}
_ASSIGNED = ("executor", "run_as", "egress")
_FIELD = {name: field for field, name in bounds.NAMES.items()}
_LIMIT = {name: field for field, name in limits.NAMES.items()}

# What clients of the publishing API may set; ours may set the rest as well.
PUBLIC = frozenset(
    "title min_processes max_processes max_conns_per_process load_factor init_timeout idle_timeout "
    "connection_timeout read_timeout run_as memory_limit cpu_limit".split()
)
ALL = frozenset({"title", *_ASSIGNED, *_FIELD, *_LIMIT})


def read_change(body: Mapping[str, Any], allowed: Collection[str]) -> dict[str, Any]:
    """Give the fields of a body, checked by kind; None means the server's default.

    Raises SupervisorError("bad-request") that names the field.
    """
    change: dict[str, Any] = {}
    for name, value in body.items():
        if name not in allowed:
            raise SupervisorError("bad-request", f"The field '{name}' cannot be changed here.")
        try:
            if name == "title":
                change[name] = _title(value)
            elif value is None:
                change[name] = None
            elif name in _ASSIGNED:
                change[name] = (_egress if name == "egress" else _name)(value)
            else:
                field = _FIELD.get(name) or _LIMIT[name]
                change[name] = _READERS.get(field, _number)(value)
        except ValueError as error:
            raise SupervisorError("bad-request", f"The field '{name}' {error}.") from None
    return change


async def adjust(request: Request, ref: str, change: Mapping[str, Any]) -> ContentView:
    """Make one change of what `read_change` gave: nothing of it where a part does not fit."""
    service, scheduler = service_of(request), settings_of(request).scheduler
    async with request.app.state.adjusting:  # what another change sets at the same time stays
        content = (await service.content(ref)).content
        scaling = {_FIELD[name]: value for name, value in change.items() if name in _FIELD}
        overrides = attrs.evolve(content.scaling, **scaling)
        own = attrs.evolve(
            content.limits,
            **{_LIMIT[name]: value for name, value in change.items() if name in _LIMIT},
        )
        if overrides != content.scaling:
            check(overrides, scheduler)
        if own != content.limits:
            Allowed.of(scheduler).check(attrs.asdict(own))
        if own != content.limits or change.keys() & set(_ASSIGNED):
            to = {name: change.get(name, getattr(content, name)) for name in _ASSIGNED}
            await _assign(service, content.guid, Assignment(limits=own, **to))
        if overrides != content.scaling:
            await service.scale(content.guid, overrides)
        if "title" in change and change["title"] != content.title:
            await service.retitle(content.guid, change["title"])
        return await service.content(content.guid)


async def _assign(service: Service, guid: str, to: Assignment) -> None:
    try:
        await service.assign(guid, to)
    except SupervisorError as error:
        if error.code != "no-executor":
            raise
        # The server is in order, the request is not.
        raise SupervisorError(
            "bad-request", f"executor: {error.message}", hint=error.hint
        ) from None


def check(overrides: Overrides, scheduler: Scheduler) -> None:
    """Raise SupervisorError where a content with these overrides would be beyond a bound."""
    bounds.check(
        overrides.over(defaults(scheduler)),
        least_limit=scheduler.least_limit,
        most_limit=scheduler.most_limit,
    )


def defaults(scheduler: Scheduler) -> Scaling:
    """Give the scaling of a content that sets nothing."""
    return Scaling(**{name: getattr(scheduler, name) for name in bounds.NAMES})


def settings_shape(view: ContentView, given: ApiSettings) -> dict[str, Any]:
    """Give each thing that can be set: what counts, what the content set, what the server says."""
    scheduler = given.scheduler
    content, scaling, default = view.content, view.scaling, defaults(scheduler)
    settings: dict[str, Any] = {
        "title": {"value": content.title or content.name, "own": content.title or None},
        "executor": {"value": content.executor, "own": content.executor},
        "run_as": {"value": content.run_as, "own": content.run_as},
    }
    settings = {name: {**setting, "server": None} for name, setting in settings.items()}
    settings["egress"] = _egress_shape(content.egress, given)
    for field, name in bounds.NAMES.items():
        settings[name] = {
            "value": getattr(scaling, field),
            "own": getattr(content.scaling, field),
            "server": getattr(default, field),
        }
    settings.update(_limits_shape(content.limits, Allowed.of(scheduler)))
    return {"guid": content.guid, "name": content.name, "settings": settings}


def _egress_shape(own: Egress | None, given: ApiSettings) -> dict[str, Any]:
    section = given.network
    default, most = Egress[section.egress], Egress[section.most_egress]
    return {
        "value": effective(own, default, most),
        "own": own,
        "server": effective(None, default, most),
    }


def _limits_shape(own: Limits, allowed: Allowed) -> dict[str, Any]:
    counting, server = allowed.counting(attrs.asdict(own)), allowed.counting({})
    return {
        name: {
            "value": counting[field] or 0,
            "own": getattr(own, field),
            "server": server[field] or 0,
        }
        for field, name in limits.NAMES.items()
    }


async def read(request: Request) -> Response:
    """Give all that can be set of a content."""
    view = await service_of(request).content(request.path_params["ref"])
    return answer(settings_shape(view, settings_of(request)))


async def update(request: Request) -> Response:
    """Set some of it, as one change; null gives the server's default back."""
    change = read_change(await read_json(request), ALL)
    note(request, **{f"set_{name}": value for name, value in change.items()})
    view = await adjust(request, request.path_params["ref"], change)
    return answer(settings_shape(view, settings_of(request)))


ROUTES = [
    Route("/v1/supervisor/content/{ref}", read, methods=["GET"]),
    Route("/v1/supervisor/content/{ref}", update, methods=["PATCH"]),
]
