"""What the gateway answers by itself: pages for people, JSON or a line of text for programs."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from supervisor.errors import CODES
from supervisor.templates import PAGES, Template


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of ours. body: as it goes out; headers: whole lines without line ends.

    fresh: seconds for which a browser may use it again without asking.
    """

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[bytes, ...] = field(default=())
    fresh: int = 0


_templates = {name: Template(name) for name in PAGES if name not in ("base", "index")}


def brand(files: Mapping[str, str]) -> None:
    """Use an administrator's own templates, file name → text; called before the first answer."""
    _templates.update({name: Template(name, files) for name in _templates})


def page(name: str, status: int, values: dict[str, str], retry: int | None = None) -> Answer:
    """Make a page of ours; retry: seconds after which the browser or a proxy may ask again."""
    template = _templates[name]
    policy = template.policy.encode("ascii")
    headers = [b"Content-Security-Policy: " + policy, b"Referrer-Policy: same-origin"]
    if retry is not None:
        headers.append(b"Retry-After: %d" % retry)
    return Answer(
        status=status,
        body=template.render(values).encode("utf-8", "replace"),
        kind="text/html; charset=utf-8",
        headers=tuple(headers),
    )


def note(
    status: int, code: str, text: str, *, as_json: bool = False, retry: int | None = None
) -> Answer:
    """Make a short answer for a program: JSON where it asked for that, else one line of text."""
    headers = (b"Retry-After: %d" % retry,) if retry is not None else ()
    if as_json:
        body = {"code": code, "error": text, "hint": CODES[code].meaning if code in CODES else ""}
        return Answer(
            status=status,
            body=json.dumps(body).encode("ascii") + b"\n",
            kind="application/json",
            headers=headers,
        )
    return Answer(status=status, body=f"{text} [{code}]\n".encode(), headers=headers)


def redirect(location: bytes, status: int = 307) -> Answer:
    """Send the client elsewhere: 307 with the same method and body, 303 with GET."""
    return Answer(status=status, headers=(b"Location: " + location,))


def wrong_method(allowed: str) -> Answer:
    """Refuse a method; allowed: those that would do."""
    text = f"this address takes {allowed} only [bad-request]\n"
    allow = b"Allow: " + allowed.encode("ascii")
    return Answer(status=405, body=text.encode("ascii"), headers=(allow,))


def ping() -> Answer:
    """Say that the gateway is there."""
    return Answer(status=200, body=b"{}", kind="application/json")


def head(answer: Answer, *, close: bool, minor: int, request: bytes = b"") -> bytes:
    """Write the head of an answer of ours; request: the id of what it answers."""
    try:
        reason = HTTPStatus(answer.status).phrase
    except ValueError:
        reason = ""
    lines = [
        f"HTTP/1.1 {answer.status} {reason}".encode("ascii"),
        time.strftime("Date: %a, %d %b %Y %H:%M:%S GMT", time.gmtime()).encode("ascii"),
        *answer.headers,
    ]
    if answer.status != 204:
        lines.append(f"Content-Type: {answer.kind}".encode("ascii"))
        lines.append(b"Content-Length: %d" % len(answer.body))
    fresh = b"max-age=%d" % answer.fresh if answer.fresh else b"no-store"
    lines += [b"Cache-Control: " + fresh, b"X-Content-Type-Options: nosniff"]
    if request:
        lines.append(b"X-Request-ID: " + request)
    if close:
        lines.append(b"Connection: close")
    elif minor == 0:
        lines.append(b"Connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n\r\n"
