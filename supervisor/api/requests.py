"""What resources read from a request: bounded JSON, bounded uploads, checked parameters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import ClientDisconnect, Request

from supervisor.api.access import ApiSettings
from supervisor.core.service import Service
from supervisor.errors import SupervisorError
from supervisor.wire import decode

MOST_JSON = 1024 * 1024  # bytes


def service_of(request: Request) -> Service:
    """Give the core that this application speaks for."""
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


def settings_of(request: Request) -> ApiSettings:
    """Give the settings that this application was built with."""
    settings = request.app.state.settings
    assert isinstance(settings, ApiSettings)
    return settings


async def read_json(request: Request) -> dict[str, Any]:
    """Read a JSON object; an empty body is an empty object. Raises bad-request, too-large."""
    body = b"".join([chunk async for chunk in bounded(request, MOST_JSON)])
    if not body.strip():
        return {}
    try:
        value = decode(body)
    except ValueError as error:
        raise SupervisorError("bad-request", f"The body is not JSON: {error}.") from None
    if not isinstance(value, dict):
        raise SupervisorError("bad-request", "The body must be a JSON object.")
    return value


async def bounded(request: Request, most: int) -> AsyncIterator[bytes]:
    """Yield the pieces of the body. Raises too-large as soon as it is known, bad-request when the
    client goes before the end.
    """
    announced(request, most)
    received = 0
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > most:
                raise _too_large(most)
            if chunk:
                yield chunk
    except ClientDisconnect:
        raise SupervisorError("bad-request", "The upload ended before its end.") from None


def announced(request: Request, most: int) -> int:
    """Give the length of the body as the client announced it, or 0. Raises too-large."""
    declared = int(request.headers.get("content-length", "0"))
    if declared > most:
        raise _too_large(most)
    return declared


def _too_large(most: int) -> SupervisorError:
    return SupervisorError(
        "too-large",
        f"The upload is larger than the {most} bytes that this server accepts.",
        hint="Leave out data and caches with a .supervisorignore file.",
    )


def text_field(body: dict[str, Any], name: str, default: str | None = None) -> str:
    """Give a text of the body. Raises bad-request where it is missing or something else."""
    value = body.get(name, default)
    if not isinstance(value, str):
        raise SupervisorError("bad-request", f"The field '{name}' must be a text.")
    return value


def flag_field(body: dict[str, Any], name: str) -> bool:
    """Tell whether a field of the body is true. Raises bad-request where it is something else."""
    value = body.get(name, False)
    if not isinstance(value, bool):
        raise SupervisorError("bad-request", f"The field '{name}' must be true or false.")
    return value


def number_parameter(
    request: Request, name: str, default: float, most: float = float("inf")
) -> float:
    """Give a number of the query, from 0 to `most`. Raises bad-request."""
    text = request.query_params.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise SupervisorError("bad-request", f"The parameter '{name}' must be a number from 0 on.")
    return min(value, most)


def flag_parameter(request: Request, name: str) -> bool:
    """Tell whether a parameter of the query is switched on."""
    return request.query_params.get(name, "0").lower() not in ("", "0", "false", "no")
