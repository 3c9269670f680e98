"""The index: every content with its state and a link. Pure: views in, HTML out."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from supervisor.core.service import ContentView

STYLE = """
:root { color-scheme: light dark;
  --ground: #f6f7f9; --card: #fff; --ink: #1a1d21; --soft: #59616b; --line: #dde1e6;
  --link: #0b57a4; --good: #1b6e3c; --bad: #b3261e; --wait: #8a5a00; }
@media (prefers-color-scheme: dark) { :root {
  --ground: #14171a; --card: #1d2125; --ink: #e8eaed; --soft: #a3abb5; --line: #32383f;
  --link: #8ec1ff; --good: #7bd6a0; --bad: #ff9d94; --wait: #f1c46b; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 3rem; }
h1 { font-size: 1.4rem; line-height: 1.3; margin: 0 0 1rem; }
ul { list-style: none; margin: 0; padding: 0; background: var(--card);
  border: 1px solid var(--line); border-radius: .5rem; }
li { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem 1rem;
  padding: .75rem 1rem; }
li + li { border-top: 1px solid var(--line); }
.what { flex: 1 1 14rem; min-width: 0; overflow-wrap: anywhere; }
a { color: var(--link); font-weight: 600; text-underline-offset: .15em; }
a:focus-visible { outline: 3px solid currentColor; outline-offset: 2px; border-radius: 2px; }
.name, .nothing { color: var(--soft); }
.name { display: block; font-size: .875rem; }
.state { flex: 0 0 9rem; font-size: .875rem; color: var(--soft); }
.state::before { content: ""; display: inline-block; width: .6em; height: .6em;
  margin-right: .45em; border-radius: 50%; border: 2px solid currentColor; }
.running { color: var(--good); } .running::before { background: currentColor; }
.failed { color: var(--bad); } .failed::before { background: currentColor; }
.starting { color: var(--wait); } .starting::before { background: currentColor; }
.nothing { padding: 2rem 1rem; text-align: center; background: var(--card);
  border: 1px dashed var(--line); border-radius: .5rem; margin: 0; }
code { font-size: .95em; }
"""
_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
SECURITY_HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cache-control": "no-store",
}
EMPTY = (
    '<p class="nothing">Nothing is published yet. '
    "Try <code>supervisor deploy DIR</code> on the server.</p>"
)
_STATES = {
    "sleeping": "Sleeping",
    "starting": "Starting",
    "running": "Running",
    "failed": "Failed",
    "stopped": "Stopped",
    "empty": "Nothing deployed",
}


def index_page(views: Sequence[ContentView]) -> str:
    """Give the page. Links are relative, so that it works below any path of a front proxy.

    Reasons of failures stay out: anybody who reaches the server may read this page.
    """
    body = "<ul>\n" + "\n".join(map(_item, views)) + "\n</ul>" if views else EMPTY
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>Published content</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<h1>Published content</h1>
{body}
</main>
</body>
</html>
"""


def _item(view: ContentView) -> str:
    content = view.content
    title = escape(content.title or content.name)
    link = f'<a href="content/{escape(content.guid)}/">{title}</a>'
    if view.state == "empty":
        link = f"<strong>{title}</strong>"
    name = f'<span class="name">{escape(content.name)}</span>' if content.title else ""
    state = escape(_STATES.get(view.state, view.state.capitalize()))
    kind = view.state if view.state in _STATES else "other"
    return (
        f'<li><span class="what">{link}{name}</span><span class="state {kind}">{state}</span></li>'
    )
