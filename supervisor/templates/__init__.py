"""The pages that visitors see, as templates that an administrator may replace.

A page is `base.html` around a file of its own, such as `failed.html`: title and styles of its own
first, then what stands in the main part. `{{name}}` stands for a value, which is always escaped.
"""

from __future__ import annotations

import base64
import hashlib
import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
SLOT = re.compile(r"\{\{\{([^{}]*)\}\}\}|\{\{([^{}]*)\}\}")
SCRIPT = re.compile(r"<script\b[^>]*>(.*?)</script\s*>", re.DOTALL | re.IGNORECASE)
_HEAD = re.compile(r"\s*(?:<(title|style)\b[^>]*>.*?</\1\s*>\s*)*", re.DOTALL | re.IGNORECASE)
# What a page shows in one state of several: <p data-show="next"> within <div data-state="next">.
_STATES = ("starting", "queued", "next", "one", "many", "later", "lines")
_SHOWN = ", ".join(f"[data-state~={state}] [data-show~={state}]" for state in _STATES)
_STATE_STYLE = f"<style>[data-show] {{ display: none; }} {_SHOWN} {{ display: revert; }}</style>\n"
_REFRESH = '<noscript><meta http-equiv="refresh" content="3"></noscript>\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What stands in a page. raw: slots `{{{name}}}`, filled with markup of ours.

    needed: slots without which the page would not do its work.
    """

    what: str
    slots: frozenset[str] = frozenset()
    raw: frozenset[str] = frozenset()
    needed: frozenset[str] = frozenset()


def _page(what: str, slots: str = "", raw: str = "", needed: str = "") -> Page:
    return Page(
        what=what,
        slots=frozenset(slots.split()),
        raw=frozenset(raw.split()),
        needed=frozenset(needed.split()),
    )


PAGES: dict[str, Page] = {
    "base": _page("what is around every page", "page home", "head body", "head body"),
    "waiting": _page(
        "a process starts, or the visitor waits in line for a free place",
        "title home wait state before",
        needed="wait",
    ),
    "full": _page("every place is taken, and no line leads to one", "title home"),
    "failed": _page(
        "the content could not be started", "title reason code lines retry state seconds home"
    ),
    "stopped": _page("somebody stopped the content", "title home"),
    "missing": _page("there is no such content", "home"),
    "unavailable": _page("a part of the server is away", "reason code home"),
    "bad-gateway": _page("the content's process did not answer properly", "reason code home"),
    "index": _page("the list of all contents", "home", "contents", "contents"),
}


class Template:
    """One page, ready to be filled in. policy: the value of its Content-Security-Policy.

    files: name of a file → text, instead of ours. Only what `supervisor.templates.check` accepts
    makes a page that is safe.
    """

    def __init__(self, name: str, files: Mapping[str, str] | None = None) -> None:
        files = files or {}
        page = _text(f"{name}.html", files)
        match = _HEAD.match(page)
        start = match.end() if match else 0
        head, body = page[:start], page[start:]
        if "data-show" in body:
            head += _STATE_STYLE
        if "wait" in PAGES[name].slots:
            head += _REFRESH
            body += f"<script>\n{_text('wait.js', {})}</script>\n"
        parts = {"head": head, "body": body}
        base = _text("base.html", files)
        self._name = name
        self._text = SLOT.sub(lambda slot: parts.get(slot[1] or "", slot[0]), base)
        # A script runs by its hash: nothing that slips into the page could run beside it.
        scripts = " ".join(map(_by_hash, SCRIPT.findall(self._text)))
        self.policy = (
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; "
            "connect-src 'self'; base-uri 'none'; form-action 'self'; "
            "script-src " + (scripts or "'none'")
        )

    def render(self, values: Mapping[str, str], raw: Mapping[str, str] | None = None) -> str:
        """Fill in the values; one that is missing is empty. raw: markup of ours, not escaped."""
        values = {**values, "page": self._name}
        markup = raw or {}

        def fill(slot: re.Match[str]) -> str:
            if slot[1] is not None:
                return markup.get(slot[1], "")
            return html.escape(values.get(slot[2], ""))

        return SLOT.sub(fill, self._text)


def _by_hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _text(name: str, files: Mapping[str, str]) -> str:
    return files[name] if name in files else (_HERE / name).read_text("utf-8")
