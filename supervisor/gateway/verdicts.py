"""The core's answers to `resolve`, and our own refusals of the same form, as pages and notes."""

from __future__ import annotations

from typing import Any

from supervisor.gateway import answers
from supervisor.gateway.answers import Answer

Message = dict[str, Any]


def core_away() -> Message:
    """Say that the part that would answer is away."""
    reason = "The server is restarting a part of itself."
    return {"as": "unavailable", "reason": reason, "retry": 2}


def too_late() -> Message:
    """Say that nobody decided within the time that a request may wait."""
    reason = "The content did not become ready in the time that a request may wait."
    return {"as": "unavailable", "reason": reason, "retry": 5}


def bad_gateway(reason: str, code: str) -> Message:
    """Say that the content's process did not answer as it should."""
    return {"as": "bad-gateway", "reason": f"The content's process: {reason}.", "code": code}


def _retry(message: Message, default: int | None) -> int | None:
    retry = message.get("retry", default)
    return max(1, round(retry)) if isinstance(retry, (int, float)) else default


def page(message: Message, base: bytes, guid: bytes) -> Answer:
    """Show an answer to a person."""
    title = str(message.get("title") or "the content")
    reason = str(message.get("reason") or "")
    code = str(message.get("code") or "unavailable")
    match message.get("as"):
        case "starting":
            wait = f"{base.decode()}/__supervisor__/wait/{guid.decode()}"
            return answers.page("starting", 503, {"title": title, "wait": wait}, retry=3)
        case "failed":
            lines = message.get("lines")
            text = "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines or "")
            values = {"title": title, "reason": reason, "code": code, "lines": text}
            return answers.page("failed", 503, values, retry=_retry(message, None))
        case "missing":
            return answers.page("missing", 404, {})
        case "stopped":
            return answers.page("stopped", 503, {"title": title})
        case "bad-gateway":
            return answers.page("bad-gateway", 502, {"reason": reason, "code": code}, retry=5)
        case _:
            reason = reason or "The server cannot answer this request now."
            values = {"reason": reason, "code": code}
            return answers.page("unavailable", 503, values, retry=_retry(message, 5))


def note(message: Message, as_json: bool) -> Answer:
    """Say the same to a program."""
    title = str(message.get("title") or "the content")
    reason = str(message.get("reason") or "")
    code = str(message.get("code") or "unavailable")
    match message.get("as"):
        case "starting":
            text = f"{title} is starting"
            return answers.note(503, "unavailable", text, as_json=as_json, retry=3)
        case "failed":
            text = f"{title} could not be started: {reason}"
            retry = _retry(message, None)
            return answers.note(503, code, text, as_json=as_json, retry=retry)
        case "missing":
            text = "there is no such content, or it is not open to you"
            return answers.note(404, "not-found", text, as_json=as_json)
        case "stopped":
            return answers.note(503, "unavailable", f"{title} is stopped", as_json=as_json)
        case "bad-gateway":
            return answers.note(502, code, reason, as_json=as_json)
        case _:
            text = reason or "the server cannot answer this request now"
            retry = _retry(message, 5)
            return answers.note(503, code, text, as_json=as_json, retry=retry)


def wait(message: Message, ready: bool) -> Answer:
    """Tell a starting page: 204 ready, 409 failed or stopped, 404, or 503 to ask again."""
    if ready:
        return Answer(status=204)
    answer = note(message, True)
    if message.get("as") in ("failed", "stopped"):
        return Answer(status=409, body=answer.body, kind=answer.kind)
    return answer
