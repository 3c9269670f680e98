"""Where requests go, who waits for a page, and which WebSockets are ours."""

from __future__ import annotations

import pytest

from supervisor.gateway.head import Request, parse_request
from supervisor.gateway.route import Kind, Site, is_navigation, route

GUID = b"0f8fad5b-d9cb-469f-a165-70867728950e"


def parse(*lines: str, method: str = "GET") -> Request:
    return parse_request("\r\n".join([f"{method} / HTTP/1.1", "Host: h:80", *lines]).encode())


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/content/" + GUID + b"/", (Kind.CONTENT, GUID, b"/")),
        (b"/content/" + GUID + b"/a/b?c", (Kind.CONTENT, GUID, b"/a/b?c")),
        (b"/content/" + GUID, (Kind.REDIRECT, GUID, b"/content/" + GUID + b"/")),
        (b"/content/" + GUID + b"?x", (Kind.REDIRECT, GUID, b"/content/" + GUID + b"/?x")),
        (
            b"/content/" + GUID.upper() + b"/a",
            (Kind.REDIRECT, GUID, b"/content/" + GUID + b"/a"),
        ),
        (b"/content/" + GUID + b"x/", (Kind.NOTHING, b"", b"/content/" + GUID + b"x/")),
        (b"/content/../" + GUID, (Kind.NOTHING, b"", b"/content/../" + GUID)),
        (b"/%63ontent/" + GUID + b"/", (Kind.CORE, b"", b"/%63ontent/" + GUID + b"/")),
        (b"/__supervisor__/wait/" + GUID, (Kind.WAIT, GUID, b"/__supervisor__/wait/" + GUID)),
        (b"/__supervisor__/waiting", (Kind.CORE, b"", b"/__supervisor__/waiting")),
        (b"/__supervisor__/retry/" + GUID, (Kind.RETRY, GUID, b"/__supervisor__/retry/" + GUID)),
        (b"/__supervisor__/notice/01ab", (Kind.NOTICE, b"01ab", b"/__supervisor__/notice/01ab")),
        (b"/__supervisor__/notice/A%2f", (Kind.CORE, b"", b"/__supervisor__/notice/A%2f")),
        (
            b"/__supervisor__/notice.js?run=1",
            (Kind.NOTICE_SCRIPT, b"", b"/__supervisor__/notice.js"),
        ),
        (b"/__ping__?x", (Kind.PING, b"", b"/__ping__")),
        (b"/content/nope/?x", (Kind.NOTHING, b"", b"/content/nope/")),
        (b"/", (Kind.CORE, b"", b"/")),
    ],
)
def test_targets_are_routed(target: bytes, expected: tuple[Kind, bytes, bytes]) -> None:
    assert expected == route(target)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (("Accept: text/html,*/*", "Sec-Fetch-Mode: navigate"), True),
        (("Accept: text/html",), True),
        (("Accept: */*",), False),
        ((), False),
        (("Accept: text/html", "Sec-Fetch-Mode: cors"), False),
        (("Accept: text/html", "Sec-Fetch-Site: same-origin"), False),
    ],
)
def test_only_navigations_get_pages(lines: tuple[str, ...], expected: bool) -> None:
    assert expected == is_navigation(parse(*lines))
    assert not is_navigation(parse(*lines, method="POST"))


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, True),
        ("http://h", True),
        ("http://H:80", True),
        ("https://apps.example.org", True),
        ("https://apps.example.org:443", True),
        ("https://apps.example.org.evil", False),
        ("http://h:81", False),
        ("null", False),
        ("file://h", False),
        ("", False),
    ],
)
def test_origins_are_compared_with_what_visitors_see(origin: str | None, expected: bool) -> None:
    site = Site("https://apps.example.org/x/")
    lines = [f"Origin: {origin}"] if origin is not None else []
    assert expected == site.same_origin(parse(*lines))


def test_a_base_path_is_taken_off() -> None:
    site = Site("https://h/apps/")
    assert b"/content/" == site.within(b"/apps/content/")
    assert b"/content/" == site.within(b"/content/")
    assert b"/applications/" == site.within(b"/applications/")
