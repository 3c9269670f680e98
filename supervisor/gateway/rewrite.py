"""What changes in heads on their way: identity, prefix, our cookies; sans-IO."""

from __future__ import annotations

import re
from typing import NamedTuple

from supervisor.gateway.fields import CHUNKED
from supervisor.gateway.head import Request, Response
from supervisor.gateway.route import Site

_OUR_PAIR = re.compile(rb"(?:^|;)[ \t]*(?:__(?:host|secure)-)?supervisor-[^;]*", re.IGNORECASE)
_OURS = re.compile(rb"(?:__(?:host|secure)-)?supervisor-", re.IGNORECASE)
_PIN = re.compile(rb"(?:^|;)[ \t]*supervisor-pin=([^; \t]*)")
_CODINGS = re.compile(rb"Accept-Encoding[ \t]*:", re.IGNORECASE)
_BODYLESS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"DELETE"))


def pins(request: Request) -> list[bytes]:
    """Give the values of all cookies named `supervisor-pin`."""
    fields = request.fields
    if not fields.cookies:
        return fields.cookies
    found: list[bytes] | None = fields.memo.get("pins")
    if found is None:
        found = [pin for value in fields.cookies for pin in _PIN.findall(value)]
        fields.memo["pins"] = found
    return found


def foreign_cookies(value: bytes) -> bytes:
    """Take the cookies in our names out of a Cookie value."""
    return _OUR_PAIR.sub(b"", value).strip(b"; \t")


def is_key(credentials: bytes) -> bool:
    """Say whether an Authorization is an API key of ours, which content must not see."""
    return credentials[:4].lower() == b"key "


def request_head(
    request: Request, target: bytes, about: bytes, content: bool, plain: bool = False
) -> bytes:
    """Write the head for an upstream; `about` are the lines about the visitor (`visitor_lines`).

    plain: ask a content for an answer that is not compressed, so that we can add to it.
    """
    memo = request.fields.memo
    key = "plain" if plain else "content" if content else "core"
    kept = memo.get(key)
    if kept is None:
        kept = memo[key] = _kept(request, content, plain)
    if request.length or request.websocket or request.method not in _BODYLESS:
        about = _framing(request) + about
    return b"%b %b HTTP/1.1\r\nHost: %b%b\r\n%b" % (
        request.method,
        target,
        request.host,
        kept,
        about,
    )


def _kept(request: Request, content: bool, plain: bool) -> bytes:
    """Join the lines that pass, each after a line break; a content sees less than the core."""
    fields = request.fields
    lines = [b"", *fields.kept]
    if plain:
        lines = [line for line in lines if not _CODINGS.match(line)]
        lines.append(b"Accept-Encoding: identity")
    for value in fields.cookies:
        if content:
            value = foreign_cookies(value)
        if value:
            lines.append(b"Cookie: " + value)
    for value in fields.credentials:
        if not (content and is_key(value)):
            lines.append(b"Authorization: " + value)
    return b"\r\n".join(lines)


def _framing(request: Request) -> bytes:
    if request.websocket:
        return b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    expect = b"Expect: 100-continue\r\n" if request.expects else b""
    if request.length == CHUNKED:
        return b"Transfer-Encoding: chunked\r\n" + expect
    return b"Content-Length: %d\r\n" % request.length + expect


def visitor_lines(site: Site, client: bytes, host: bytes, guid: bytes) -> bytes:
    """Write the lines that say who asks, and the end of the head. guid: or nothing."""
    lines = b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
        client,
        site.scheme,
        host,
    )
    if guid:
        prefix = site.prefix(guid)
        base = site.url(host) + b"/content/" + guid + b"/"
        lines += b"X-Forwarded-Prefix: %b\r\n" % prefix
        lines += b"RStudio-Connect-App-Base-URL: %b\r\n" % base
    elif site.base:
        lines += b"X-Forwarded-Prefix: %b\r\n" % site.base
    return lines + b"\r\n"


class Place(NamedTuple):
    """Where a content's answers must stay: the prefix in the address, and the visitor's Host."""

    site: Site
    guid: bytes
    host: bytes

    @property
    def prefix(self) -> bytes:
        """The path of the content, without a slash at its end."""
        return self.site.prefix(self.guid)


def response_lines(response: Response, place: Place | None) -> list[bytes]:
    """Give the lines of a response that the visitor may see; place is None for the core's own."""
    if place is None:
        lines = [*response.kept, *response.origin]
        lines += [b"%b: %b" % pair for pair in response.locations]
        lines += [b"Set-Cookie: " + value for value in response.cookies]
        return lines
    lines = response.kept
    if response.cookies or response.locations:
        lines = lines + [
            b"%b: %b" % (name, mapped_location(value, place)) for name, value in response.locations
        ]
        for value in response.cookies:
            bound = bound_cookie(value, place)
            if bound is not None:
                lines.append(b"Set-Cookie: " + bound)
    return lines


def bound_cookie(value: bytes, place: Place) -> bytes | None:
    """Force a cookie of a content beneath its prefix; None for one in our names."""
    pair, *attributes = value.split(b";")
    name, equals, _ = pair.partition(b"=")
    name = name.strip(b" \t")
    # Without a name, browsers send the value alone, which then looks like a cookie of ours.
    if not name or _OURS.match(name) or not equals:
        return None
    path = place.prefix + b"/"
    kept = [pair.strip(b" \t")]
    for attribute in attributes:
        key, _, wanted = attribute.partition(b"=")
        key = key.strip(b" \t").lower()
        if key == b"path":
            path = _mapped_path(wanted.strip(b" \t"), place) or path
        elif key not in (b"domain", b""):
            kept.append(attribute.strip(b" \t"))
    kept.append(b"Path=" + path)
    return b"; ".join(kept)


def _mapped_path(path: bytes, place: Place) -> bytes:
    """Map a path as the content sees it to one as the browser sees it; nothing for no path."""
    if path[:1] != b"/":
        return b""
    if path == place.prefix or path.startswith(place.prefix + b"/"):
        return path
    return place.prefix + path


def mapped_location(value: bytes, place: Place) -> bytes:
    """Map a redirect of a content back under its prefix; what leads elsewhere stays as it is."""
    if value[:2] == b"//":
        host, slash, rest = value[2:].partition(b"/")
    elif value[:1] == b"/":
        return _mapped_path(value, place)
    elif value[:7].lower() == b"http://" or value[:8].lower() == b"https://":
        host, slash, rest = value.partition(b"://")[2].partition(b"/")
    else:
        return value
    if slash and place.site.is_ours(host, place.host):
        return _mapped_path(slash + rest, place)
    return value
