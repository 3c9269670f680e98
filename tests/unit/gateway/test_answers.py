"""Our own pages escape everything, load nothing, and run only their own script."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest

from supervisor.gateway import answers

PAGES = ("starting", "failed", "missing", "stopped", "unavailable", "bad-gateway")
EVIL = "<script>alert('1')</script>\"&{{reason}}"


@pytest.mark.parametrize("name", PAGES)
def test_text_of_users_is_escaped(name: str) -> None:
    keys = ("title", "reason", "code", "lines", "wait")
    text = answers.page(name, 503, dict.fromkeys(keys, EVIL)).body.decode()
    assert "alert('1')" not in text
    assert "{{" not in text.replace("&quot;&amp;{{reason}}", "")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_needs_nothing_from_elsewhere(name: str) -> None:
    text = answers.page(name, 503, {}).body.decode()
    assert not re.search(r"(?:src|href)=\"[^\"]", text)
    assert "url(" not in text
    assert '<html lang="en">' in text
    assert 1 == text.count("<h1>") == text.count("<title>") == text.count("<main")


def test_only_the_pages_own_script_may_run() -> None:
    page = answers.page("starting", 503, {})
    (script,) = re.findall(r"<script>(.*?)</script>", page.body.decode(), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest())
    (policy,) = [line for line in page.headers if line.startswith(b"Content-Security-Policy")]
    assert b"script-src 'sha256-" + digest + b"'" in policy
    assert b"default-src 'none'" in policy


def test_a_note_is_one_line_or_json() -> None:
    assert b"it is full [unavailable]\n" == answers.note(503, "unavailable", "it is full").body
    note = answers.note(503, "unavailable", "it is full", as_json=True, retry=3)
    assert ("application/json", (b"Retry-After: 3",)) == (note.kind, note.headers)


def test_an_empty_answer_has_no_body_fields() -> None:
    head = answers.head(answers.Answer(status=204), close=False, minor=1)
    assert b"\r\nContent-" not in head
    assert b"Connection" not in head
    assert b"Connection: close" in answers.head(answers.ping(), close=True, minor=1)
