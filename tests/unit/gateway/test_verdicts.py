"""What the core says becomes the right page, note or news for a waiting page."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from supervisor.gateway import verdicts

GUID = b"0f8fad5b-d9cb-469f-a165-70867728950e"


def text(message: dict[str, Any], base: bytes = b"", pin: bytes = b"") -> str:
    return verdicts.page(message, base, GUID, pin).body.decode()


def test_a_waiting_page_asks_with_its_visitors_pin_below_the_base() -> None:
    page = text({"as": "starting", "title": "Plot"}, b"/apps", b"waiting.v.1.m-_a")
    assert f'data-wait="/apps/__supervisor__/wait/{GUID.decode()}?pin=waiting.v.1.m-_a"' in page


def test_without_a_script_a_waiting_page_loads_itself_again() -> None:
    page = text({"as": "queued", "title": "Plot", "position": 2})
    assert '<noscript><meta http-equiv="refresh" content="3"></noscript>' in page
    assert "http-equiv" not in text({"as": "failed"})


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ({"as": "starting"}, "starting"),
        ({"as": "queued", "position": 1}, "queued next"),
        ({"as": "queued", "position": 2}, "queued one"),
        ({"as": "queued", "position": 12}, "queued many"),
        ({"as": "queued"}, "queued next"),
        ({"as": "queued", "position": -3}, "queued next"),
    ],
)
def test_a_waiting_page_shows_how_it_stands(message: dict[str, Any], state: str) -> None:
    assert f'data-state="{state}"' in text(message)


def test_people_before_a_visitor_are_counted() -> None:
    assert "<span data-before>11</span> people" in text({"as": "queued", "position": 12})


def test_a_failed_page_asks_for_another_try_by_a_form() -> None:
    page = text({"as": "failed", "title": "Plot", "reason": "It ended.", "lines": ["a", "b<"]})
    action = f"/__supervisor__/retry/{GUID.decode()}"
    assert f'<form method="post" action="{action}">' in page
    assert "a\nb&lt;</pre>" in page
    assert 'data-state="lines"' in page


def test_a_failed_page_says_when_the_server_tries_again_by_itself() -> None:
    answer = verdicts.page({"as": "failed", "retry": 12.2}, b"", GUID)
    assert b"Retry-After: 12" in answer.headers
    assert re.search(r'data-state="later ".*in about 12 seconds', answer.body.decode(), re.DOTALL)


@pytest.mark.parametrize(
    ("verdict", "status", "heading"),
    [
        ("full", 503, "Plot is full"),
        ("missing", 404, "There is nothing at this address"),
        ("stopped", 503, "Plot is stopped"),
        ("bad-gateway", 502, "The content did not answer properly"),
        ("of-a-newer-core", 503, "Not available right now"),
    ],
)
def test_each_verdict_has_a_page(verdict: str, status: int, heading: str) -> None:
    answer = verdicts.page({"as": verdict, "title": "Plot"}, b"", GUID)
    assert status == answer.status
    assert f"<h1>{heading}</h1>" in answer.body.decode()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"as": "full", "title": "Plot"}, b"every place of Plot is taken [full]\n"),
        (
            {"as": "queued", "title": "Plot", "position": 4},
            b"Plot is full; this is number 4 in line [full]\n",
        ),
        ({"as": "starting"}, b"the content is starting [unavailable]\n"),
    ],
)
def test_a_program_is_told_in_one_line(message: dict[str, Any], said: bytes) -> None:
    answer = verdicts.note(message, False)
    assert (503, said) == (answer.status, answer.body)


def test_a_waiting_page_is_told_how_it_stands() -> None:
    def news(message: dict[str, Any]) -> Any:
        answer = verdicts.wait(message, False)
        assert (200, "application/json") == (answer.status, answer.kind)
        return json.loads(answer.body)

    assert {"state": "starting"} == news({"as": "starting", "title": "Plot"})
    assert {"state": "queued", "position": 3} == news({"as": "queued", "position": 3})


@pytest.mark.parametrize(
    ("message", "ready", "status"),
    [
        ({"as": "worker"}, True, 204),
        ({"as": "failed", "reason": "x"}, False, 409),
        ({"as": "stopped"}, False, 409),
        ({"as": "full"}, False, 409),
        ({"as": "missing"}, False, 404),
        ({"as": "unavailable"}, False, 503),
        ({"as": "worker"}, False, 503),
    ],
)
def test_a_waiting_page_is_told_when_to_load_again(
    message: dict[str, Any], ready: bool, status: int
) -> None:
    assert status == verdicts.wait(message, ready).status
