"""JSON answers and errors: everything that the API sends goes through here."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from supervisor.errors import CODES, SupervisorError
from supervisor.log import Log
from supervisor.wire import encode

MOST_PATH = 2000  # characters of a request's path that are logged


def answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Make a JSON response."""
    response = Response(encode(value), status, headers, media_type="application/json")
    response.headers["cache-control"] = "no-store"
    response.headers["x-content-type-options"] = "nosniff"
    return response


def error_answer(error: SupervisorError, *, numbered: bool = False) -> Response:
    """Make the response to a request that failed for a reason that the caller may read.

    numbered: for clients of the publishing API, `code` is the number where there is one.
    """
    headers = {}
    if error.http_status == 401:
        headers["www-authenticate"] = "Key"
    if error.recoverable and error.http_status == 503:
        headers["retry-after"] = "5"
    body = {**error.as_json(), "name": error.code, "payload": None}
    number = CODES[error.code].number
    if numbered and number is not None:
        body["code"] = number
    return answer(body, error.http_status, headers)


def internal_error(error: BaseException, log: Log, scope: Mapping[str, Any]) -> Response:
    """Log a defect with its traceback; tell the caller only a reference to find it by."""
    reference = secrets.token_hex(6)
    log.error(
        "api-failed",
        exc=error,
        reference=reference,
        method=scope["method"],
        path=scope["path"][:MOST_PATH],
    )
    return error_answer(
        SupervisorError(
            "internal",
            "The server failed to answer because of a defect of its own.",
            hint=f"Its log has the details under reference={reference}.",
        )
    )
