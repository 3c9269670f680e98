"""Where a request goes, by its target alone, and under which public address we are seen."""

from __future__ import annotations

import re
from enum import Enum
from urllib.parse import urlsplit

from supervisor.gateway.head import Request

_GUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
CONTENT = re.compile(rb"/content/(" + _GUID + rb")(/.*)")
_LOOSE_CONTENT = re.compile(rb"/content/(" + _GUID + rb")([/?].*)?", re.IGNORECASE)
_OURS = re.compile(rb"/__supervisor__/(wait|retry)/(" + _GUID + rb")", re.IGNORECASE)
_NOTICE = re.compile(rb"/__supervisor__/notice/([0-9a-z]{1,64})")


METRICS = b"/__metrics__"  # of the core: for our metrics listener, never for visitors


class Kind(Enum):
    """Who answers a request."""

    CONTENT = "content"  # a worker of the content
    REDIRECT = "redirect"  # we: the content's address in its one spelling
    WAIT = "wait"  # we: once a worker is ready
    RETRY = "retry"  # we: a person asks that a failed content be tried again
    NOTICE = "notice"  # we: whether a run is about to end
    NOTICE_SCRIPT = "notice-script"  # we: what shows that in a page
    PING = "ping"  # we
    NOTHING = "nothing"  # we: no content can be there
    CORE = "core"


def route(target: bytes) -> tuple[Kind, bytes, bytes]:
    """Give the kind, the content's guid (or nothing) and the target as the answerer sees it.

    For a notice the run stands in the guid's place.
    """
    match = CONTENT.fullmatch(target)
    if match is not None:
        return Kind.CONTENT, match[1], match[2]
    match = _LOOSE_CONTENT.fullmatch(target)
    if match is not None:
        guid = match[1].lower()
        rest = match[2] or b"/"
        slash = b"" if rest[:1] == b"/" else b"/"
        return Kind.REDIRECT, guid, b"/content/" + guid + slash + rest
    path = target.partition(b"?")[0]
    match = _OURS.fullmatch(path)
    if match is not None:
        kind = Kind.WAIT if match[1].lower() == b"wait" else Kind.RETRY
        return kind, match[2].lower(), path
    match = _NOTICE.fullmatch(path)
    if match is not None:
        return Kind.NOTICE, match[1], path
    if path == b"/__supervisor__/notice.js":
        return Kind.NOTICE_SCRIPT, b"", path
    if path == b"/__ping__":
        return Kind.PING, b"", path
    if path.startswith(b"/content/") or path == METRICS:
        return Kind.NOTHING, b"", path
    return Kind.CORE, b"", target


class Site:
    """The address that visitors see: Server.Address, or what the request's Host says.

    base: the path of Server.Address without its last slash, usually nothing; secure: https.
    """

    __slots__ = ("address", "base", "host", "scheme", "secure")

    def __init__(self, server_address: str = "") -> None:
        parts = urlsplit(server_address or "")
        self.scheme = (parts.scheme or "http").encode("ascii")
        self.secure = parts.scheme == "https"
        self.host = parts.netloc.lower().encode("ascii")
        self.base = parts.path.rstrip("/").encode("ascii")
        self.address = self.scheme + b"://" + self.host + self.base if self.host else b""

    def within(self, target: bytes) -> bytes:
        """Take our base path off a target, where the proxy before us has left it on."""
        if self.base and target.startswith(self.base + b"/"):
            return target[len(self.base) :]
        return target

    def prefix(self, guid: bytes) -> bytes:
        """Give the path under which a browser sees the content, without a slash at its end."""
        return self.base + b"/content/" + guid

    def url(self, host: bytes) -> bytes:
        """Give scheme, host and base path for a request with this Host."""
        return self.address or self.scheme + b"://" + host

    def is_ours(self, host: bytes, seen: bytes) -> bool:
        """Say whether a host is the one that this visitor talks to (`seen` is its Host)."""
        host = _without_default_port(host)
        return host == _without_default_port(seen) or (
            bool(self.host) and host == _without_default_port(self.host)
        )

    def same_origin(self, request: Request) -> bool:
        """Say whether a request comes from a page of ours. Who sends no Origin is no browser."""
        origin = request.fields.get(b"origin")
        if origin is None:
            return True
        scheme, separator, host = origin.partition(b"://")
        return (
            bool(separator)
            and scheme.lower() in (b"http", b"https")
            and self.is_ours(host, request.host)
        )

    def same_origin_form(self, request: Request) -> bool:
        """Say whether a form of a page of ours was sent, or no browser asks."""
        site = request.fields.get(b"sec-fetch-site")
        if site is not None:  # surer than the names: a proxy may have changed Host
            return site.lower() in (b"same-origin", b"none")
        return self.same_origin(request)


def _without_default_port(host: bytes) -> bytes:
    return re.sub(rb":(?:80|443)?\Z", b"", host.lower())


def is_navigation(request: Request) -> bool:
    """Say whether a person waits for a page: only then is a page of ours an answer."""
    if request.method != b"GET" or request.websocket:
        return False
    if b"text/html" not in (request.fields.get(b"accept") or b"").lower():
        return False
    mode = request.fields.get(b"sec-fetch-mode")
    if mode is not None:
        return mode.lower() == b"navigate"
    return (
        request.fields.get(b"sec-fetch-dest") is None
        and request.fields.get(b"sec-fetch-site") is None
    )


def wants_json(request: Request) -> bool:
    """Say whether an error should be JSON rather than a line of text."""
    return b"json" in (request.fields.get(b"accept") or b"").lower()


def wants_events(request: Request) -> bool:
    """Say whether the answer is to be a stream of events, which lasts while somebody listens."""
    return b"text/event-stream" in (request.fields.get(b"accept") or b"").lower()
