"""Header fields: which lines are well-formed, what each one is to us, how bodies are framed."""

from __future__ import annotations

import re
from functools import lru_cache

FIELDS_LIMIT = 100

CHUNKED = -1  # as a length: framed by chunks


class BadHead(Exception):
    """A head that is refused: the status to answer with and one sentence for a person."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


KEEP, DROP, ORIGIN, HOST, CONNECTION, COOKIE, AUTHORIZATION = range(7)
LENGTH, CODING, UPGRADE, EXPECT, SET_COOKIE, LOCATION, REQUEST_ID, FORWARDED, BUSY = range(7, 16)

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
    "x-request-id": REQUEST_ID,
    "x-forwarded-for": FORWARDED,
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
    "supervisor-busy": BUSY,
}

_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_TEXT = bytes([9, *range(32, 127), *range(128, 256)])
_BREAKS = [b"\r\n" * count for count in range(FIELDS_LIMIT + 1)]
_LENGTH = re.compile(rb"[0-9]{1,18}")
_FRAMING = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect"))
PLAIN_TOKENS = frozenset((b"close", b"keep-alive", b"upgrade"))


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
        if kind == KEEP and self._table is _REQUEST and dashed.startswith("x-forwarded-"):
            kind = DROP
        if kind != KEEP and dashed != plain:
            kind = DROP  # X_Forwarded_For looks like X-Forwarded-For to servers of the CGI kind
        if len(self) < 4096 and len(name) <= 64:
            self[name] = kind
        return kind


REQUEST_KINDS = _Kinds(_REQUEST)
RESPONSE_KINDS = _Kinds(_RESPONSE)


@lru_cache(maxsize=128)
def split_tokens(value: bytes) -> frozenset[bytes]:
    return frozenset(token.strip(b" \t").lower() for token in value.split(b",")) - {b""}


def without(kept: list[bytes], named: frozenset[bytes]) -> list[bytes]:
    """Remove the fields that Connection names: they were meant for this hop alone."""
    if named & _FRAMING:
        raise BadHead(400, "Connection names a field that frames the message")
    return [line for line in kept if line.partition(b":")[0].lower() not in named]


def split_lines(block: bytes, most: int) -> list[bytes]:
    lines = block.split(b"\r\n")
    if len(lines) > most:
        raise BadHead(431, f"more than {FIELDS_LIMIT} header fields")
    if block.translate(None, _TEXT) != _BREAKS[len(lines) - 1]:
        raise BadHead(400, "a bare line break or a control character in the head")
    return lines


def body_length(lengths: list[bytes], codings: list[bytes], minor: int) -> int:
    if codings:
        if lengths or len(codings) > 1 or minor == 0 or codings[0].lower() != b"chunked":
            raise BadHead(400, "Transfer-Encoding must be `chunked`, alone and in HTTP/1.1")
        return CHUNKED
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise BadHead(400, "Content-Length must be one number")
    return int(lengths[0])
