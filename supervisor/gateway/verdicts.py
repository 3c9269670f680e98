"""The core's answers to `resolve`, and our own refusals of the same form, as pages and notes."""

from __future__ import annotations

import json
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


def _text(message: Message, key: str, otherwise: str = "") -> str:
    return str(message.get(key) or otherwise)


def _place(message: Message) -> int:
    """Give the place in line: 1 is next."""
    position = message.get("position")
    return max(1, position) if isinstance(position, int) else 1


def page(message: Message, base: bytes, guid: bytes, pin: bytes = b"") -> Answer:
    """Show an answer to a person. pin: holds this visitor's place while the page waits."""
    home, content = base.decode(), guid.decode()
    ours = f"{home}/__supervisor__"
    title = _text(message, "title", "the content")
    reason = _text(message, "reason")
    code = _text(message, "code", "unavailable")
    values = {"title": title, "reason": reason, "code": code, "home": f"{home}/"}
    match message.get("as"):
        case "starting" | "queued" as state:
            before = _place(message) - 1
            if state == "queued":
                state += " next" if not before else " one" if before == 1 else " many"
            values["wait"] = f"{ours}/wait/{content}" + (f"?pin={pin.decode()}" if pin else "")
            values |= {"state": state, "before": str(before)}
            return answers.page("waiting", 503, values, retry=3)
        case "full":
            return answers.page("full", 503, values, retry=_retry(message, 5))
        case "failed":
            lines = message.get("lines")
            text = "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines or "")
            retry = _retry(message, None)
            values["state"] = ("later " if retry else "") + ("lines" if text else "")
            values |= {"lines": text, "retry": f"{ours}/retry/{content}", "seconds": str(retry)}
            return answers.page("failed", 503, values, retry=retry)
        case "missing":
            return answers.page("missing", 404, values)
        case "stopped":
            return answers.page("stopped", 503, values)
        case "bad-gateway":
            return answers.page("bad-gateway", 502, values, retry=5)
        case _:
            values["reason"] = reason or "The server cannot answer this request now."
            return answers.page("unavailable", 503, values, retry=_retry(message, 5))


def note(message: Message, as_json: bool) -> Answer:
    """Say the same to a program."""
    title = _text(message, "title", "the content")
    reason = _text(message, "reason")
    code = _text(message, "code", "unavailable")
    match message.get("as"):
        case "starting":
            text = f"{title} is starting"
            return answers.note(503, "unavailable", text, as_json=as_json, retry=3)
        case "queued":
            text = f"{title} is full; this is number {_place(message)} in line"
            return answers.note(503, "full", text, as_json=as_json, retry=3)
        case "full":
            text = f"every place of {title} is taken"
            retry = _retry(message, 5)
            return answers.note(503, "full", text, as_json=as_json, retry=retry)
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
    """Tell a waiting page how it stands.

    204: ready; 200: JSON with its state and place; 409: load it again to see why there is nothing
    to wait for; 404; 503: ask again in a moment.
    """
    if ready:
        return Answer(status=204)
    verdict = message.get("as")
    if verdict == "starting":
        return _news({"state": "starting"})
    if verdict == "queued":
        return _news({"state": "queued", "position": _place(message)})
    answer = note(message, True)
    if verdict in ("failed", "stopped", "full"):
        return Answer(status=409, body=answer.body, kind=answer.kind)
    return answer


def _news(news: Message) -> Answer:
    return Answer(status=200, body=json.dumps(news).encode("ascii"), kind="application/json")
