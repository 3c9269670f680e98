"""Parse request and response heads, strictly, sans-IO: what could be read in two ways is refused.

A head is everything before the empty line, without it. Parsing also sorts the fields: `kept` holds
the lines that may pass on as they are, what the gateway must look at lies in fields of its own.
"""

from __future__ import annotations

import re
from functools import lru_cache

HEAD_LIMIT = 32 * 1024  # bytes
FIELDS_LIMIT = 100

CHUNKED = -1  # as a length: framed by chunks
UNTIL_END = -2  # as a length of a response: until the peer closes


class BadHead(Exception):
    """A head that is refused: the status to answer with and one sentence for a person."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


KEEP, DROP, ORIGIN, REFUSED, HOST, CONNECTION, COOKIE, AUTHORIZATION = range(8)
LENGTH, CODING, UPGRADE, EXPECT, SET_COOKIE, LOCATION = range(8, 14)

_HOP_BY_HOP = (
    "keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer http2-settings"
)
# What content believes about its caller: only the gateway may say it.
_IDENTITY = (
    "forwarded x-real-ip shiny-server-credentials rstudio-connect-credentials "
    "posit-connect-user-session-token rstudio-connect-app-base-url"
)
# What a response says about the whole origin, which a content shares with others.
_ORIGIN_WIDE = (
    "service-worker-allowed alt-svc clear-site-data strict-transport-security nel report-to"
)
_REQUEST = {
    **dict.fromkeys((_HOP_BY_HOP + " " + _IDENTITY).split(), DROP),
    "host": HOST,
    "connection": CONNECTION,
    "cookie": COOKIE,
    "authorization": AUTHORIZATION,
    "content-length": LENGTH,
    "transfer-encoding": CODING,
    "upgrade": UPGRADE,
    "expect": EXPECT,
}
_RESPONSE = {
    **dict.fromkeys(_HOP_BY_HOP.split(), DROP),
    **dict.fromkeys(_ORIGIN_WIDE.split(), ORIGIN),
    "connection": CONNECTION,
    "content-length": LENGTH,
    "transfer-encoding": CODING,
    "upgrade": UPGRADE,
    "set-cookie": SET_COOKIE,
    "location": LOCATION,
    "content-location": LOCATION,
}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_TEXT = bytes([9, *range(32, 127), *range(128, 256)])
_BREAKS = [b"\r\n" * count for count in range(FIELDS_LIMIT + 1)]
# Upper case only: to some servers `head` is HEAD, to others not, and so is the answer's length.
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{0,31}) ([\x21\x22\x24-\x7e]+) HTTP/([0-9])\.([0-9])")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)(.*)", re.IGNORECASE)
_HOST = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
_PLAIN = frozenset((b"close", b"keep-alive", b"upgrade"))


class _Kinds(dict[bytes, int]):
    """Field name, as written → what to do with it. Names seen before cost one lookup."""

    def __init__(self, table: dict[str, int]) -> None:
        super().__init__()
        self._table = table

    def __missing__(self, name: bytes) -> int:
        if not _TOKEN.fullmatch(name):
            raise BadHead(400, "a header field has a malformed name")
        plain = name.decode("ascii").lower()
        dashed = plain.replace("_", "-")
        kind = self._table.get(dashed, KEEP)
        if self._table is _REQUEST and dashed.startswith("x-forwarded-"):
            kind = DROP
        if kind != KEEP and dashed != plain:
            kind = DROP  # X_Forwarded_For looks like X-Forwarded-For to servers of the CGI kind
        if len(self) < 4096 and len(name) <= 64:
            self[name] = kind
        return kind


_REQUEST_KINDS = _Kinds(_REQUEST)
_RESPONSE_KINDS = _Kinds(_RESPONSE)


class Request:
    """One request head. Bytes as they came, without the white space around values.

    length: bytes of the body, 0, or CHUNKED. kept: lines that any upstream may see. cookies,
    credentials: values of Cookie and Authorization, for whoever may see them.
    """

    __slots__ = (
        "cookies", "credentials", "expects", "host", "keep_alive", "kept", "length", "method",
        "minor", "target", "websocket",
    )  # fmt: skip
    method: bytes
    target: bytes
    minor: int
    host: bytes
    kept: list[bytes]
    cookies: list[bytes]
    credentials: list[bytes]
    length: int
    keep_alive: bool
    websocket: bool
    expects: bool

    def field(self, name: bytes) -> bytes | None:
        """Give the value of the first kept field of this lower-case name."""
        for line in self.kept:
            found, _, value = line.partition(b":")
            if found.lower() == name:
                return value.strip(b" \t")
        return None


class Response:
    """One response head. length: of the body as framed (the caller knows HEAD, 204 and 304)."""

    __slots__ = (
        "cookies", "keep_alive", "kept", "length", "locations", "minor", "origin", "reason",
        "status", "websocket",
    )  # fmt: skip
    status: int
    reason: bytes
    minor: int
    kept: list[bytes]
    cookies: list[bytes]  # values of Set-Cookie
    locations: list[tuple[bytes, bytes]]  # name and value of Location and Content-Location
    origin: list[bytes]  # lines about the whole origin
    length: int
    keep_alive: bool
    websocket: bool


@lru_cache(maxsize=128)
def _tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t").lower() for token in value.split(b",")) - {b""}


def _without(kept: list[bytes], named: frozenset[bytes]) -> list[bytes]:
    """Remove the fields that Connection names: they were meant for this hop alone."""
    if named & _FRAMING:
        raise BadHead(400, "Connection names a field that frames the message")
    return [line for line in kept if line.partition(b":")[0].lower() not in named]


def _lines(head: bytes) -> list[bytes]:
    lines = head.split(b"\r\n")
    count = len(lines) - 1
    if count > FIELDS_LIMIT:
        raise BadHead(431, f"more than {FIELDS_LIMIT} header fields")
    if head.translate(None, _TEXT) != _BREAKS[count]:
        raise BadHead(400, "a bare line break or a control character in the head")
    return lines


def _length(lengths: list[bytes], codings: list[bytes], minor: int) -> int | None:
    if codings:
        if lengths or len(codings) > 1 or minor == 0 or codings[0].lower() != b"chunked":
            raise BadHead(400, "Transfer-Encoding must be `chunked`, alone and in HTTP/1.1")
        return CHUNKED
    if lengths:
        if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
            raise BadHead(400, "Content-Length must be one number")
        return int(lengths[0])
    return None


def parse_request(head: bytes) -> Request:
    """Parse a request head. Raises BadHead with the status and the reason."""
    lines = _lines(head)
    match = _REQUEST_LINE.fullmatch(lines[0])
    if match is None:
        raise BadHead(400, "malformed request line")
    request = Request()
    request.method, request.target, major, minor = match.groups()
    if major != b"1" or minor > b"1":
        raise BadHead(505, "only HTTP/1.0 and HTTP/1.1 are spoken here")
    request.minor = 1 if minor == b"1" else 0
    request.kept = kept = []
    request.cookies = []
    request.credentials = []
    request.expects = False
    host = None
    tokens: frozenset[bytes] = frozenset()
    lengths: list[bytes] = []
    codings: list[bytes] = []
    upgrades: list[bytes] = []
    kinds = _REQUEST_KINDS
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(b":")
        kind = kinds[name]
        if not colon:
            raise BadHead(400, "a header field without a colon")
        if kind == KEEP:
            kept.append(line)
            continue
        value = value.strip(b" \t")
        if kind == HOST:
            if host is not None:
                raise BadHead(400, "more than one Host")
            host = value
        elif kind == CONNECTION:
            tokens = tokens | _tokens(value) if tokens else _tokens(value)
        elif kind == COOKIE:
            request.cookies.append(value)
        elif kind == LENGTH:
            lengths.append(value)
        elif kind == CODING:
            codings.append(value)
        elif kind == AUTHORIZATION:
            request.credentials.append(value)
        elif kind == UPGRADE:
            upgrades.append(value)
        elif kind == EXPECT:
            if value.lower() != b"100-continue":
                raise BadHead(417, "only `Expect: 100-continue` is known here")
            request.expects = request.minor == 1
    if not tokens <= _PLAIN:
        request.kept = _without(kept, tokens - _PLAIN)
    if request.minor:
        request.keep_alive = b"close" not in tokens
    else:
        request.keep_alive = b"keep-alive" in tokens and b"close" not in tokens
    request.length = 0
    if lengths or codings:
        request.length = _length(lengths, codings, request.minor) or 0
    _check_host(request, host)
    request.websocket = bool(upgrades) and _is_websocket(request, tokens, upgrades)
    return request


def _check_host(request: Request, host: bytes | None) -> None:
    if host is None:
        if request.minor == 1:
            raise BadHead(400, "Host is missing")
        host = b"localhost"
    elif not _HOST.fullmatch(host):
        raise BadHead(400, "malformed Host")
    request.host = host
    if request.target[:1] == b"/":
        return
    absolute = _ABSOLUTE.fullmatch(request.target)
    if absolute is None:
        raise BadHead(400, "the request's target must be a path")
    if absolute[1].lower() != host.lower():
        raise BadHead(400, "the request's target names another host than Host")
    request.target = absolute[2] if absolute[2][:1] == b"/" else b"/" + absolute[2]


def _is_websocket(request: Request, tokens: frozenset[bytes], upgrades: list[bytes]) -> bool:
    return (
        b"upgrade" in tokens
        and len(upgrades) == 1
        and upgrades[0].lower() == b"websocket"
        and request.minor == 1
        and request.method == b"GET"
        and request.length == 0
    )


def parse_response(head: bytes) -> Response:
    """Parse a response head. Raises BadHead, with 502 in every case."""
    try:
        return _parse_response(head)
    except BadHead as error:
        raise BadHead(502, error.reason) from None


def _parse_response(head: bytes) -> Response:
    lines = _lines(head)
    match = _STATUS_LINE.fullmatch(lines[0])
    if match is None:
        raise BadHead(502, "malformed status line")
    response = Response()
    response.minor = 1 if match[1] == b"1" else 0
    response.status = int(match[2])
    response.reason = match[3] or b""
    response.kept = kept = []
    response.cookies = []
    response.locations = []
    response.origin = []
    tokens: frozenset[bytes] = frozenset()
    lengths: list[bytes] = []
    codings: list[bytes] = []
    upgrades: list[bytes] = []
    kinds = _RESPONSE_KINDS
    del lines[0]
    for line in lines:
        name, colon, value = line.partition(b":")
        kind = kinds[name]
        if not colon:
            raise BadHead(502, "a header field without a colon")
        if kind == KEEP:
            kept.append(line)
        elif kind == LENGTH:
            lengths.append(value.strip(b" \t"))
        elif kind == CODING:
            codings.append(value.strip(b" \t"))
        elif kind == CONNECTION:
            tokens = tokens | _tokens(value)
        elif kind == SET_COOKIE:
            response.cookies.append(value.strip(b" \t"))
        elif kind == LOCATION:
            response.locations.append((name, value.strip(b" \t")))
        elif kind == UPGRADE:
            upgrades.append(value.strip(b" \t").lower())
        elif kind == ORIGIN:
            response.origin.append(line)
    if not tokens <= _PLAIN:
        response.kept = _without(kept, tokens - _PLAIN)
    response.keep_alive = b"close" not in tokens and (
        response.minor == 1 or b"keep-alive" in tokens
    )
    length = _length(lengths, codings, response.minor) if lengths or codings else None
    response.length = UNTIL_END if length is None else length
    response.websocket = b"upgrade" in tokens and upgrades == [b"websocket"]
    return response
