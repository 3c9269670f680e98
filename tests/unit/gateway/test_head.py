"""Heads: what is refused, what is sorted, and how other parsers read them."""

from __future__ import annotations

import contextlib
from typing import Any

import h11
import httptools
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from supervisor.gateway.fields import CHUNKED, BadHead
from supervisor.gateway.head import UNTIL_END, Request, parse_request, parse_response


def parse(*lines: str, first: str = "GET / HTTP/1.1", host: bool = True) -> Request:
    """Parse a head of these lines."""
    return parse_request("\r\n".join([first, *(["Host: h"] if host else []), *lines]).encode())


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a",
        b"GET / HTTP/1.1\r\nHost: a b",
        b"GET / HTTP/1.1\r\nHost: a/b",
        b"GET / HTTP/1.1\r\nHost:",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 1",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked",
        b"GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding :chunked",
        b"GET / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: -1",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 2",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length:",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: \xb2",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999999999999",
        b"GET / HTTP/1.1\nHost: h",
        b"GET / HTTP/1.1\r\nHost: h\nX: y",
        b"GET / HTTP/1.1\r\nHost: h\rX: y",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x00b",
        b"GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb",
        b"GET / HTTP/1.1\r\nHost: h\r\n X: folded",
        b"GET / HTTP/1.1\r\nHost: h\r\nX : y",
        b"GET / HTTP/1.1\r\nHost: h\r\n: y",
        b"GET / HTTP/1.1\r\nHost: h\r\nno colon",
        b"GET / HTTP/1.1\r\nHost: h\r\nHost",
        b"GET / HTTP/1.1\r\nHost: h\r\nX\xe9: y",
        b"GET / HTTP/1.1\r\nHost: h\r\nConnection: Host",
        b"GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nConnection: content-length",
        b"GET  / HTTP/1.1\r\nHost: h",
        b"GET /a b HTTP/1.1\r\nHost: h",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: h",
        b"GET /#x HTTP/1.1\r\nHost: h",
        b"GET x HTTP/1.1\r\nHost: h",
        b"GET * HTTP/1.1\r\nHost: h",
        b"GET http://other/ HTTP/1.1\r\nHost: h",
        b"GET http://h@other/ HTTP/1.1\r\nHost: h",
        b"GET ftp://h/ HTTP/1.1\r\nHost: h",
        b"get / HTTP/1.1\r\nHost: h",
        b" GET / HTTP/1.1\r\nHost: h",
        b"\r\nGET / HTTP/1.1\r\nHost: h",
        b"GET /\r\nHost: h",
        b"",
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(head: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        parse_request(head)
    assert 400 == caught.value.status


@pytest.mark.parametrize(
    ("status", "lines", "first"),
    [
        (505, (), "GET / HTTP/2.0"),
        (505, (), "GET / HTTP/1.2"),
        (417, ("Expect: something",), "GET / HTTP/1.1"),
        (431, ("X: y",) * 100, "GET / HTTP/1.1"),
    ],
)
def test_other_refusals_have_their_own_status(
    status: int, lines: tuple[str, ...], first: str
) -> None:
    with pytest.raises(BadHead) as caught:
        parse(*lines, first=first)
    assert status == caught.value.status


def test_hop_by_hop_fields_and_those_named_in_connection_are_dropped() -> None:
    request = parse(
        "Connection: close, X-Mine", "X-Mine: 1", "Keep-Alive: 5", "TE: trailers", "A: b"
    )
    assert [b"A: b"] == request.fields.kept
    assert request.keep_alive is False
    named = parse("Connection: cookie, Authorization", "Cookie: a=b", "Authorization: x").fields
    assert ([], []) == (named.cookies, named.credentials)


def test_look_alikes_of_what_we_decide_are_dropped() -> None:
    request = parse("X_Forwarded_For: 1", "Content_Length: 7", "HOST_: x", "api_key: kept")
    assert [b"HOST_: x", b"api_key: kept"] == request.fields.kept
    assert 0 == request.length


@pytest.mark.parametrize(
    ("first", "connection", "kept"),
    [
        ("GET / HTTP/1.1", "", True),
        ("GET / HTTP/1.1", "Close", False),
        ("GET / HTTP/1.0", "", False),
        ("GET / HTTP/1.0", "Keep-Alive", True),
    ],
)
def test_connections_are_kept_as_the_version_says(first: str, connection: str, kept: bool) -> None:
    lines = [f"Connection: {connection}"] if connection else []
    assert kept == parse(*lines, first=first).keep_alive


def test_an_absolute_target_of_our_host_becomes_a_path() -> None:
    assert b"/a?b" == parse(first="GET http://H/a?b HTTP/1.1").target
    assert b"/" == parse(first="GET http://h HTTP/1.1").target
    assert b"/?q" == parse(first="GET http://h?q HTTP/1.1").target


def test_only_a_bodyless_get_asks_for_a_websocket() -> None:
    upgrade = ("Upgrade: WebSocket", "Connection: x, upgrade")
    assert parse(*upgrade).websocket
    assert not parse(*upgrade, first="POST / HTTP/1.1").websocket
    assert not parse(*upgrade, "Content-Length: 1").websocket
    assert not parse("Upgrade: websocket").websocket
    assert not parse("Upgrade: websocket, h2c", "Connection: upgrade").websocket


def test_the_same_fields_are_parsed_once() -> None:
    assert parse("A: b").fields is parse("A: b", first="POST /x HTTP/1.1").fields


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip",
        b"HTTP/1.1 200 OK\nA: b",
        b"HTTP/1.1 200 OK\r\nA : b",
        b"HTTP/1.1 99 X",
        b"HTTP/1.1 2000 X",
        b"HTTP/2 200 OK",
        b"200 OK",
        b"",
    ],
)
def test_a_malformed_answer_is_a_bad_gateway(head: bytes) -> None:
    with pytest.raises(BadHead) as caught:
        parse_response(head)
    assert 502 == caught.value.status


def test_an_answer_is_sorted() -> None:
    response = parse_response(
        b"HTTP/1.0 302 Found\r\nSet-Cookie: a=b\r\nSet-Cookie: c=d\r\nLocation: /x\r\n"
        b"Service-Worker-Allowed: /\r\nKeep-Alive: 5\r\nA: b"
    )
    assert [b"HTTP/1.1 302 Found", b"A: b"] == response.kept
    assert [b"a=b", b"c=d"] == response.cookies
    assert [(b"Location", b"/x")] == response.locations
    assert [b"Service-Worker-Allowed: /"] == response.origin
    assert (UNTIL_END, False) == (response.length, response.keep_alive)


# Differential: against two parsers that many servers use.


def by_h11(head: bytes) -> Any:
    """What h11 makes of a head: method, target, fields; None where it refuses."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    return event.method, event.target, [(n.lower(), v) for n, v in event.headers]


class _Seen:
    def __init__(self) -> None:
        self.target = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.complete = True


def by_httptools(head: bytes) -> Any:
    """What httptools makes of a head; None where it refuses."""
    seen = _Seen()
    parser = httptools.HttpRequestParser(seen)
    with contextlib.suppress(httptools.HttpParserUpgrade):
        try:
            parser.feed_data(head)
        except httptools.HttpParserError:
            return None
    if not seen.complete:
        return None
    return parser.get_method(), seen.target, seen.fields


_names = st.sampled_from(
    "Host host Content-Length Transfer-Encoding Connection Cookie X-A A_b Upgrade Expect".split()
)
_values = st.one_of(
    st.sampled_from(
        "h|1|0|+1|1,1|chunked|Chunked|gzip, chunked|close|upgrade|keep-alive, x-a|websocket|"
        "100-continue|a=b|| \t x \t|h:80|[::1]".split("|")
    ),
    st.text(st.characters(max_codepoint=255), max_size=12),
)
_gaps = st.sampled_from([": ", ":", " :", ":\t ", "", ":\r\n "])
_ends = st.sampled_from(["\r\n"] * 12 + ["\n", "\r", "\r\r\n", "\n\r\n"])
_fields = st.lists(
    st.tuples(
        _names | st.text(st.characters(max_codepoint=255), max_size=5), _gaps, _values, _ends
    ),
    max_size=6,
).map(lambda fields: "".join("".join(field) for field in fields))
_first = st.tuples(
    st.sampled_from(["GET", "POST", "HEAD", "get", "M-SEARCH", "FOO", "G T", ""]),
    st.sampled_from([" ", " ", " ", "  ", "\t"]),
    st.sampled_from(["/", "/a?b=c", "*", "http://h/x", "http://o/", "/é", "/a#b", "a", "//x", ""]),
    st.sampled_from([" HTTP/1.1", " HTTP/1.1", " HTTP/1.0", " HTTP/2.0", " http/1.1", ""]),
    _ends,
).map("".join)


@settings(max_examples=500, deadline=None)
@example(first="GET / HTTP/1.1\r\n", rest="Host: h\r\n")
@example(first="POST / HTTP/1.1\r\n", rest="Host: h\r\nTransfer-Encoding: Chunked\r\n")
@given(first=_first, rest=st.one_of(_fields, _fields.map(lambda text: "Host: h\r\n" + text)))
def test_we_accept_nothing_that_both_others_refuse_and_read_it_alike(first: str, rest: str) -> None:
    data = (first + rest + "\r\n").encode("latin-1")
    head = data.partition(b"\r\n\r\n")[0]
    data = head + b"\r\n\r\n"
    try:
        request = parse_request(head)
    except BadHead:
        return
    theirs = [found for found in (by_h11(data), by_httptools(data)) if found is not None]
    assert theirs, data
    for method, target, fields in theirs:
        assert request.method == method
        assert target.endswith(request.target)
        lengths = [value for name, value in fields if name == b"content-length"]
        codings = [value.lower() for name, value in fields if name == b"transfer-encoding"]
        if codings:
            assert (CHUNKED, [b"chunked"]) == (request.length, codings)
        else:
            assert [request.length] == ([int(value) for value in lengths] or [0])
        named = {name: value.strip(b" \t") for name, value in fields}
        for line in request.fields.kept:
            name, _, value = line.partition(b":")
            assert (name.lower(), value.strip(b" \t")) in [(n, v.strip(b" \t")) for n, v in fields]
        if b"host" in named:
            assert request.host == named[b"host"]
