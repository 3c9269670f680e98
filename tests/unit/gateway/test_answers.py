"""Our own pages escape everything, load nothing, and run only their own script."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator

import pytest

from supervisor.gateway import answers
from supervisor.templates import PAGES

NAMES = sorted(PAGES.keys() - {"base", "index"})
EVIL = "<script>alert('1')</script>\"&{{reason}}"


@pytest.mark.parametrize("name", NAMES)
def test_text_of_users_is_escaped(name: str) -> None:
    text = answers.page(name, 503, dict.fromkeys(PAGES[name].slots, EVIL)).body.decode()
    assert "alert('1')" not in text
    assert "{{" not in text.replace("&quot;&amp;{{reason}}", "")


def test_only_the_pages_own_script_may_run() -> None:
    page = answers.page("waiting", 503, {})
    (script,) = re.findall(r"<script>(.*?)</script>", page.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    (policy,) = [line for line in page.headers if line.startswith(b"Content-Security-Policy")]
    assert b"script-src 'sha256-" + digest + b"'" in policy
    assert b"default-src 'none'" in policy


def test_a_page_without_a_script_may_run_none() -> None:
    (policy, *_) = answers.page("missing", 404, {}).headers
    assert policy.endswith(b"script-src 'none'")


@pytest.fixture
def branded() -> Iterator[None]:
    """Some pages are an administrator's own; ours are back afterwards."""
    base = "<html lang=de><head>{{{head}}}</head><body class={{page}}>{{{body}}}ACME</body></html>"
    answers.brand(
        {"base.html": base, "missing.html": "<title>Weg</title><h1>Weg ist {{home}}</h1>"}
    )
    yield
    answers.brand({})


@pytest.mark.usefixtures("branded")
def test_an_administrators_template_replaces_ours() -> None:
    missing = answers.page("missing", 404, {"home": "/a&b/"}).body.decode()
    assert (
        "<html lang=de><head><title>Weg</title></head>"
        "<body class=missing><h1>Weg ist /a&amp;b/</h1>ACME</body></html>"
    ) == missing
    stopped = answers.page("stopped", 503, {"title": "Plot"}).body.decode()
    assert stopped.endswith("ACME</body></html>")
    assert "<title>Plot is stopped</title>" in stopped.partition("<body")[0]


def test_a_note_is_one_line_or_json() -> None:
    assert b"it is full [unavailable]\n" == answers.note(503, "unavailable", "it is full").body
    note = answers.note(503, "unavailable", "it is full", as_json=True, retry=3)
    assert ("application/json", (b"Retry-After: 3",)) == (note.kind, note.headers)


def test_an_empty_answer_has_no_body_fields() -> None:
    head = answers.head(answers.Answer(status=204), close=False, minor=1)
    assert b"\r\nContent-" not in head
    assert b"Connection" not in head
    assert b"Connection: close" in answers.head(answers.ping(), close=True, minor=1)


def test_only_what_may_be_used_again_is_kept_by_browsers() -> None:
    def line(answer: answers.Answer) -> bytes:
        (found,) = re.findall(rb"Cache-Control: (.*)\r", answers.head(answer, close=False, minor=1))
        return bytes(found)

    assert b"no-store" == line(answers.ping())
    assert b"max-age=60" == line(answers.Answer(status=200, fresh=60))
