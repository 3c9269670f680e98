"""The notice of a bounded end: which answers carry it, and what a page is told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from supervisor.gateway import notice
from supervisor.gateway.head import parse_request, parse_response
from supervisor.gateway.sessions import Worker

BROWSER = b"Accept: text/html,*/*"
HTML = b"Content-Type: text/html; charset=utf-8"
SCRIPT = b'<script src="/__supervisor__/notice.js?run=01run" async></script>'


def worker(**facts: Any) -> Worker:
    made = Worker("01run", b"guid", "app.sock", 0, -1)
    made.notice = True
    for name, value in facts.items():
        setattr(made, name, value)
    return made


def tail(
    *lines: bytes,
    method: bytes = b"GET",
    asks: tuple[bytes, ...] = (BROWSER,),
    status: bytes = b"200 OK",
    of: Worker | None = None,
) -> bytes:
    request = parse_request(b"\r\n".join([method + b" / HTTP/1.1", b"Host: h", *asks]))
    response = parse_response(b"\r\n".join([b"HTTP/1.1 " + status, *lines]))
    return notice.tail(of or worker(), request, response, b"")


def test_a_page_that_a_person_opens_carries_the_script() -> None:
    assert SCRIPT == tail(HTML)
    assert SCRIPT == tail(b"content-type: TEXT/HTML")


@pytest.mark.parametrize(
    "asked",
    [
        {"method": b"HEAD"},
        {"method": b"POST"},
        {"asks": (b"Accept: */*",)},
        {"asks": (BROWSER, b"Sec-Fetch-Mode: cors")},
        {"status": b"404 Not Found"},
        {"status": b"206 Partial Content"},
        {"of": worker(notice=False)},
    ],
    ids=["HEAD", "POST", "accepts all", "no navigation", "404", "206", "without a notice"],
)
def test_other_requests_answers_and_contents_are_left_alone(asked: dict[str, Any]) -> None:
    assert b"" == tail(HTML, **asked)


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Type: application/json",),
        (b"Content-Type: text/html; charset=UTF-16",),
        (b"Content-Type: text/htmlx",),
        (HTML, b"Content-Encoding: gzip"),
        (),
    ],
)
def test_what_is_no_plain_html_is_left_alone(lines: tuple[bytes, ...]) -> None:
    assert b"" == tail(*lines)


def test_answers_of_the_core_are_left_alone() -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: h\r\n" + BROWSER)
    assert b"" == notice.tail(None, request, parse_response(b"HTTP/1.1 200 OK\r\n" + HTML), b"")


@pytest.mark.parametrize(
    ("of", "facts"),
    [
        (worker(), {"draining": False, "ends": None}),
        (worker(draining=True, ends=250.4), {"draining": True, "ends": 150}),
        (worker(draining=True, ends=50.0), {"draining": True, "ends": 0}),
        (None, {"gone": True}),
    ],
)
def test_a_page_is_told_how_its_run_stands(of: Worker | None, facts: dict[str, Any]) -> None:
    assert facts == json.loads(notice.news(of, 100.0).body)


def test_browsers_may_keep_the_script() -> None:
    assert notice.script().fresh > 0
    assert notice.script().kind.startswith("text/javascript")
