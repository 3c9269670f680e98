"""What the API server can refuse, one class for each thing that a caller acts on."""

from __future__ import annotations

import json
from typing import Any

from supervisor import SupervisorError


class ApiError(SupervisorError):
    """A request that the API server did not carry out.

    call: verb and resource, as RBAC names them ("create jobs", "get pods/log"); status: the HTTP
    status, or None where no answer came; reason: the server's word for it ("AlreadyExists"), or "".
    """

    code_name = "internal"
    may_pass = False
    advice = ""

    def __init__(
        self, call: str, message: str, *, status: int | None = None, reason: str = ""
    ) -> None:
        super().__init__(
            self.code_name,
            f"the Kubernetes API refused to {call}: {message}"
            if status
            else f"the Kubernetes API: {call}: {message}",
            hint=self.advice,
            recoverable=self.may_pass,
        )
        self.call = call
        self.status = status
        self.reason = reason


class NotFound(ApiError):
    """404: there is no such object, or no such kind of object."""

    code_name = "not-found"


class Conflict(ApiError):
    """409: an object of this name exists (reason AlreadyExists), or changed meanwhile."""

    code_name = "conflict"


class Gone(ApiError):
    """410: the version to watch or to list from is no longer kept; list again."""

    code_name = "unavailable"
    may_pass = True


class BadRequest(ApiError):
    """400 or 422: the object or the question is wrong; the message is the server's."""

    code_name = "bad-request"


class Unauthorised(ApiError):
    """401: the token or client certificate is not, or no longer, accepted."""

    code_name = "not-signed-in"
    advice = "The kubeconfig or the service account needs a valid token or client certificate."


class Forbidden(ApiError):
    """403: no right to this verb on this resource, or a quota or admission rule forbids it."""

    code_name = "not-allowed"
    advice = (
        "Either the server's Role lacks this verb, or a quota or admission rule of the namespace"
        " forbids the object."
    )


class Untrusted(ApiError):
    """The server's certificate is not one that we were told to trust."""

    code_name = "settings-invalid"
    advice = "Check certificate-authority and the server's address in the kubeconfig."


class TooMany(ApiError):
    """429: the server asks to come back later. retry_after: seconds, 0 where it did not say."""

    code_name = "unavailable"
    may_pass = True
    retry_after = 0.0


class ServerFailed(ApiError):
    """No usable answer: 5xx, no connection, a time limit, or no JSON.

    sent: whether the server may have carried the request out nevertheless. After a create, look
    for the object by its name.
    """

    code_name = "unavailable"
    may_pass = True
    retry_after = 0.0
    sent = True


_BY_STATUS: dict[int, type[ApiError]] = {
    400: BadRequest,
    401: Unauthorised,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: BadRequest,
    429: TooMany,
}


def from_status(call: str, status: int, body: bytes, retry_after: str | None = None) -> ApiError:
    """The error for an answer that is no success; body: a Status object, or whatever came."""
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        answer = {"message": body[:300].decode("utf-8", "replace").strip()}
    return from_answer(call, status, answer, retry_after)


def from_answer(
    call: str, status: int, answer: dict[str, Any], retry_after: str | None = None
) -> ApiError:
    """The error for a Status object, as an answer or as the ERROR event of a watch."""
    kind = _BY_STATUS.get(status, ServerFailed if status >= 500 else BadRequest)
    message = str(answer.get("message") or "no reason given")
    error = kind(
        call, f"{message} ({status})", status=status, reason=str(answer.get("reason") or "")
    )
    if isinstance(error, TooMany | ServerFailed):
        details = answer.get("details")
        said = details.get("retryAfterSeconds") if isinstance(details, dict) else None
        error.retry_after = _seconds(retry_after) or _seconds(said)
    return error


def _seconds(said: object) -> float:
    try:
        return max(0.0, float(str(said)))
    except ValueError:
        return 0.0  # absent, or a date, which the API server does not send
