"""What the gateway answers by itself: pages for people, JSON or a line of text for programs."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path

from supervisor.errors import CODES

_PAGES = Path(__file__).parent / "pages"
_SLOT = re.compile(r"\{\{([a-z]+)\}\}")
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer of ours. body: as it goes out; headers: whole lines without line ends."""

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"
    headers: tuple[bytes, ...] = field(default=())


class Template:
    """One page: `{{name}}` stands for a value, which is always escaped."""

    def __init__(self, name: str) -> None:
        base = (_PAGES / "base.html").read_text("utf-8")
        body = (_PAGES / f"{name}.html").read_text("utf-8")
        self._text = base.replace("{{{body}}}", body)
        # The script runs by its hash: nothing that slips into the page could run beside it.
        hashes = [
            f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"
            for script in _SCRIPT.findall(self._text)
        ]
        scripts = " ".join(hashes) or "'none'"
        self.policy = (
            "default-src 'none'; style-src 'unsafe-inline'; connect-src 'self'; "
            f"base-uri 'none'; form-action 'none'; script-src {scripts}"
        ).encode("ascii")

    def render(self, values: dict[str, str]) -> bytes:
        """Fill in the values; one that is missing is empty."""
        text = _SLOT.sub(lambda slot: html.escape(values.get(slot[1], "")), self._text)
        return text.encode("utf-8", "replace")


_TEMPLATES = {
    name: Template(name)
    for name in ("starting", "failed", "missing", "stopped", "unavailable", "bad-gateway")
}


def page(name: str, status: int, values: dict[str, str], retry: int | None = None) -> Answer:
    """Make a page of ours; retry: seconds after which the browser or a proxy may ask again."""
    template = _TEMPLATES[name]
    headers = [b"Content-Security-Policy: " + template.policy, b"Referrer-Policy: same-origin"]
    if retry is not None:
        headers.append(b"Retry-After: %d" % retry)
    return Answer(
        status=status,
        body=template.render(values),
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


def redirect(location: bytes) -> Answer:
    """Send the client elsewhere, with the same method and body."""
    return Answer(status=307, headers=(b"Location: " + location,))


def ping() -> Answer:
    """Say that the gateway is there."""
    return Answer(status=200, body=b"{}", kind="application/json")


def head(answer: Answer, *, close: bool, minor: int) -> bytes:
    """Write the head of an answer of ours."""
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
    lines += [b"Cache-Control: no-store", b"X-Content-Type-Options: nosniff"]
    if close:
        lines.append(b"Connection: close")
    elif minor == 0:
        lines.append(b"Connection: keep-alive")
    return b"\r\n".join(lines) + b"\r\n\r\n"
