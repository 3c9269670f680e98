"""Parse request and response heads, strictly, sans-IO: what could be read in two ways is refused.

A head is everything before the empty line, without it. Parsing also sorts the fields: `kept` holds
the lines that may pass on as they are, what the gateway must look at lies in fields of its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from supervisor.gateway.fields import (
    AUTHORIZATION,
    BUSY,
    CODING,
    CONNECTION,
    COOKIE,
    EXPECT,
    FIELDS_LIMIT,
    FORWARDED,
    HOST,
    KEEP,
    LENGTH,
    LOCATION,
    ORIGIN,
    PLAIN_TOKENS,
    REQUEST_ID,
    REQUEST_KINDS,
    RESPONSE_KINDS,
    SET_COOKIE,
    UPGRADE,
    BadHead,
    body_length,
    split_lines,
    split_tokens,
    without,
)

HEAD_LIMIT = 32 * 1024  # bytes
_SEEN_LIMIT = 2048  # bytes of fields that are worth remembering

UNTIL_END = -2  # as a length of a response: until the peer closes

# Upper case only: to some servers `head` is HEAD, to others not, and so is the answer's length.
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{0,31}) ([\x21\x22\x24-\x7e]+) HTTP/([0-9]\.[0-9])")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")


class Fields:
    """The fields of a request, sorted. A pure function of their bytes, so it may be shared."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []  # lines that any upstream may see
        self.hosts: list[bytes] = []
        self.cookies: list[bytes] = []  # values of Cookie
        self.credentials: list[bytes] = []  # values of Authorization
        self.lengths: list[bytes] = []
        self.codings: list[bytes] = []
        self.upgrades: list[bytes] = []
        self.request_ids: list[bytes] = []  # as the client names its request
        self.forwarded: list[bytes] = []  # values of X-Forwarded-For
        self.expects = False
        self.tokens: frozenset[bytes] = frozenset()  # of Connection
        self.memo: dict[str, Any] = {}  # what others have derived from the fields

    def get(self, name: bytes) -> bytes | None:
        """Give the value of the first kept field of this lower-case name."""
        for line in self.kept:
            found, _, value = line.partition(b":")
            if found.lower() == name:
                return value.strip(b" \t")
        return None


class Request:
    """One request head.

    minor: of HTTP/1.minor; length: bytes of the body, 0, or CHUNKED; websocket: it asks for that.
    """

    __slots__ = (
        "fields", "host", "keep_alive", "length", "method", "minor", "target", "websocket",
    )  # fmt: skip

    def __init__(self, method: bytes, target: bytes, minor: int, fields: Fields) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = fields
        self.host = b"localhost"
        self.length = 0
        self.keep_alive = True
        self.websocket = False

    @property
    def expects(self) -> bool:
        """Whether the client waits for `100 Continue`."""
        return self.minor == 1 and self.fields.expects


class Response:
    """One response head. length: of the body as framed (the caller knows HEAD, 204 and 304)."""

    cookies: Sequence[bytes] = ()  # values of Set-Cookie
    locations: Sequence[tuple[bytes, bytes]] = ()  # name and value of (Content-)Location
    origin: Sequence[bytes] = ()  # lines about the whole origin
    busy: bytes | None = None  # value of Supervisor-Busy, which is for us alone
    length = UNTIL_END
    websocket = False

    def __init__(self, minor: int, status: int, line: bytes) -> None:
        self.minor = minor
        self.status = status
        self.kept = [line]  # the status line as we say it, then lines that any client may see
        self.keep_alive = minor == 1


def parse_request(head: bytes) -> Request:
    """Parse a request head. Raises BadHead with the status and the reason."""
    line, _, block = head.partition(b"\r\n")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        raise BadHead(400, "malformed request line")
    method, target, version = match.groups()
    if version == b"1.1":
        minor = 1
    elif version == b"1.0":
        minor = 0
    else:
        raise BadHead(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    # Most requests of a visitor repeat the fields of the one before.
    fields = _seen_fields(block) if len(block) <= _SEEN_LIMIT else parse_fields(block)
    request = Request(method, target, minor, fields)
    if fields.hosts:
        request.host = fields.hosts[0]
    elif minor:
        raise BadHead(400, "Host is missing")
    tokens = fields.tokens
    if tokens or not minor:
        request.keep_alive = b"close" not in tokens and (minor == 1 or b"keep-alive" in tokens)
    if fields.lengths or fields.codings:
        request.length = body_length(fields.lengths, fields.codings, minor)
    if target[0] != 47:
        request.target = _path(target, request.host)
    if fields.upgrades:
        request.websocket = (
            b"upgrade" in tokens
            and fields.upgrades == [b"websocket"]
            and minor == 1
            and method == b"GET"
            and request.length == 0
        )
    return request


def parse_fields(block: bytes) -> Fields:
    """Parse and sort the lines of a request after the first."""
    fields = Fields()
    if not block:
        return fields
    kept = fields.kept
    kinds = REQUEST_KINDS
    for line in split_lines(block, FIELDS_LIMIT):
        name, colon, value = line.partition(b":")
        kind = kinds[name]
        if not colon:
            raise BadHead(400, "a header field without a colon")
        if kind == KEEP:
            kept.append(line)
            continue
        value = value.strip(b" \t")
        if kind == HOST:
            fields.hosts.append(value)
        elif kind == CONNECTION:
            fields.tokens |= split_tokens(value)
        elif kind == COOKIE:
            fields.cookies.append(value)
        elif kind == LENGTH:
            fields.lengths.append(value)
        elif kind == CODING:
            fields.codings.append(value)
        elif kind == AUTHORIZATION:
            fields.credentials.append(value)
        elif kind == UPGRADE:
            fields.upgrades.append(value.lower())
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise BadHead(417, "only `Expect: 100-continue` is known here")
            fields.expects = True
        elif kind == REQUEST_ID:
            fields.request_ids.append(value)
        elif kind == FORWARDED:
            fields.forwarded.append(value)
    if len(fields.hosts) > 1:
        raise BadHead(400, "more than one Host")
    if fields.hosts and not _HOST.fullmatch(fields.hosts[0]):
        raise BadHead(400, "malformed Host")
    if not fields.tokens <= PLAIN_TOKENS:
        fields.kept = without(kept, fields.tokens - PLAIN_TOKENS)
        if b"cookie" in fields.tokens:
            fields.cookies = []
        if b"authorization" in fields.tokens:
            fields.credentials = []
    return fields


_seen_fields = lru_cache(maxsize=512)(parse_fields)


def _path(target: bytes, host: bytes) -> bytes:
    """Give the path of a target in absolute form."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise BadHead(400, "the request's target must be a path")
    if absolute[1].lower() != host.lower():
        raise BadHead(400, "the request's target names another host than Host")
    return absolute[2] if absolute[2][:1] == b"/" else b"/" + absolute[2]


class _StatusLines(dict[bytes, tuple[int, int, bytes]]):
    """Status line → minor, status, the line as we say it. There are few; each answer has one."""

    def __missing__(self, line: bytes) -> tuple[int, int, bytes]:
        match = _STATUS_LINE.fullmatch(line)
        if match is None:
            raise BadHead(502, "malformed status line")
        said = b"HTTP/1.1 %b %b" % (match[2], match[3] or b"")
        found = (1 if match[1] == b"1" else 0, int(match[2]), said)
        if len(self) < 256 and len(line) <= 64:
            self[line] = found
        return found


_STATUS_LINES = _StatusLines()


def parse_response(head: bytes) -> Response:
    """Parse a response head. Raises BadHead, with 502 in every case."""
    try:
        return _parse_response(head)
    except BadHead as error:
        raise BadHead(502, error.reason) from None


def _parse_response(head: bytes) -> Response:
    lines = split_lines(head, FIELDS_LIMIT + 1)
    response = Response(*_STATUS_LINES[lines[0]])
    kept = response.kept
    tokens: frozenset[bytes] = frozenset()
    lengths: list[bytes] = []
    codings: list[bytes] = []
    upgrades: list[bytes] = []
    kinds = RESPONSE_KINDS
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(b":")
        kind = kinds[name]
        if not colon:
            raise BadHead(502, "a header field without a colon")
        if kind == KEEP:
            kept.append(line)
            continue
        value = value.strip(b" \t")
        if kind == LENGTH:
            lengths.append(value)
        elif kind == CODING:
            codings.append(value)
        elif kind == CONNECTION:
            tokens |= split_tokens(value)
        elif kind == SET_COOKIE:
            response.cookies = [*response.cookies, value]
        elif kind == LOCATION:
            response.locations = [*response.locations, (name, value)]
        elif kind == UPGRADE:
            upgrades.append(value.lower())
        elif kind == ORIGIN:
            response.origin = [*response.origin, line]
        elif kind == BUSY:
            response.busy = value
    if lengths or codings:
        response.length = body_length(lengths, codings, response.minor)
    if tokens:
        response.keep_alive = b"close" not in tokens and (
            response.minor == 1 or b"keep-alive" in tokens
        )
        response.websocket = b"upgrade" in tokens and upgrades == [b"websocket"]
        if not tokens <= PLAIN_TOKENS:
            response.kept = without(kept, tokens - PLAIN_TOKENS)
    return response
