"""What a content may see of a visitor, and where its answers must stay."""

from __future__ import annotations

import pytest

from supervisor.gateway.head import parse_request, parse_response
from supervisor.gateway.rewrite import (
    Place,
    bound_cookie,
    foreign_cookies,
    mapped_location,
    pins,
    request_head,
    response_lines,
    visitor_lines,
)
from supervisor.gateway.route import Site

GUID = b"0f8fad5b-d9cb-469f-a165-70867728950e"
ROOT = b"/content/" + GUID
PLACE = Place(Site(), GUID, b"h:3939")
NAMED = Place(Site("https://apps.example.org/base/"), GUID, b"h")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=b; c=d", b"a=b; c=d"),
        (b"a=b; supervisor-pin=x; c=d", b"a=b; c=d"),
        (b"supervisor-pin=x", b""),
        (b"Supervisor-Session=x;a=b;;", b"a=b"),
        (b"__Host-supervisor-session=x; a=b", b"a=b"),
        (b"mysupervisor-pin=x", b"mysupervisor-pin=x"),
    ],
)
def test_our_cookies_are_taken_out(value: bytes, expected: bytes) -> None:
    assert expected == foreign_cookies(value)


def test_all_pins_are_found_and_nothing_else() -> None:
    request = parse_request(
        b"GET / HTTP/1.1\r\nHost: h\r\nCookie: a=supervisor-pin=no; supervisor-pin=1; x=y\r\n"
        b"Cookie: supervisor-pin=2;supervisor-pinx=3"
    )
    assert [b"1", b"2"] == pins(request)


def test_the_core_sees_credentials_that_a_content_does_not() -> None:
    request = parse_request(
        b"POST / HTTP/1.0\r\nHost: h\r\nA: b\r\nCookie: supervisor-session=1; c=d\r\n"
        b"Authorization: Key secret\r\nAuthorization: Bearer theirs"
    )
    content = request_head(request, b"/x", b"V: w\r\n\r\n", True)
    assert (
        b"POST /x HTTP/1.1\r\nHost: h\r\nA: b\r\nCookie: c=d\r\nAuthorization: Bearer theirs\r\n"
        b"Content-Length: 0\r\nV: w\r\n\r\n"
    ) == content
    core = request_head(request, b"/x", b"\r\n", False)
    assert b"Authorization: Key secret" in core
    assert b"supervisor-session=1" in core


def test_the_visitor_is_described_by_us() -> None:
    lines = visitor_lines(NAMED.site, b"1.2.3.4", b"h", GUID).split(b"\r\n")
    assert [
        b"X-Forwarded-For: 1.2.3.4",
        b"X-Forwarded-Proto: https",
        b"X-Forwarded-Host: h",
        b"X-Forwarded-Prefix: /base" + ROOT,
        b"RStudio-Connect-App-Base-URL: https://apps.example.org/base" + ROOT + b"/",
        b"",
        b"",
    ] == lines


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"a=b", b"a=b; Path=" + ROOT + b"/"),
        (b"a=b; Path=/; Domain=h; HttpOnly", b"a=b; HttpOnly; Path=" + ROOT + b"/"),
        (b"a=b;path=/x;SameSite=Lax", b"a=b; SameSite=Lax; Path=" + ROOT + b"/x"),
        (b"a=b; Path=" + ROOT + b"/y", b"a=b; Path=" + ROOT + b"/y"),
        (b"a=b; Path=relative", b"a=b; Path=" + ROOT + b"/"),
        (b"a=b; Path=/x; Path=/content/", b"a=b; Path=" + ROOT + b"/content/"),
        (b"supervisor-pin=x; Path=/", None),
        (b"=supervisor-pin=x; Path=/", None),
        (b" =x", None),
        (b" Supervisor-Session=x", None),
        (b"__Host-supervisor-x=1", None),
        (b"supervisor-pin", None),
    ],
)
def test_cookies_stay_beneath_the_content(value: bytes, expected: bytes | None) -> None:
    assert expected == bound_cookie(value, PLACE)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"/x?y", ROOT + b"/x?y"),
        (b"/", ROOT + b"/"),
        (ROOT + b"/x", ROOT + b"/x"),
        (ROOT + b"x", ROOT + ROOT + b"x"),
        (b"x/y", b"x/y"),
        (b"?q", b"?q"),
        (b"http://h:3939/x", ROOT + b"/x"),
        (b"HTTP://H:3939/x", ROOT + b"/x"),
        (b"//h:3939/x", ROOT + b"/x"),
        (b"http://h:39390/x", b"http://h:39390/x"),
        (b"https://other/x", b"https://other/x"),
        (b"//other/x", b"//other/x"),
        (b"mailto:a@b", b"mailto:a@b"),
    ],
)
def test_redirects_come_back_under_the_prefix(value: bytes, expected: bytes) -> None:
    assert expected == mapped_location(value, PLACE)


def test_a_server_address_with_a_path_is_part_of_the_prefix() -> None:
    assert b"/base" + ROOT + b"/x" == mapped_location(b"https://apps.example.org:443/x", NAMED)
    assert b"a=b; Path=/base" + ROOT + b"/" == bound_cookie(b"a=b", NAMED)


def test_a_content_says_nothing_about_the_whole_origin() -> None:
    response = parse_response(
        b"HTTP/1.1 200 OK\r\nService-Worker-Allowed: /\r\nClear-Site-Data: *\r\nAlt-Svc: x\r\nA: b"
    )
    assert [b"HTTP/1.1 200 OK", b"A: b"] == response_lines(response, PLACE)
    assert b"Alt-Svc: x" in response_lines(response, None)


def test_a_page_that_we_add_to_is_asked_for_without_compression() -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\naccept-encoding: gzip\r\nA: b")
    head = request_head(request, b"/", b"\r\n", True, plain=True)
    assert b"GET / HTTP/1.1\r\nHost: h\r\nA: b\r\nAccept-Encoding: identity\r\n\r\n" == head
    assert b"accept-encoding: gzip" in request_head(request, b"/", b"\r\n", True)
