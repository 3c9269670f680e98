"""The index: every content with its state and a link. Pure: views in, HTML out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from supervisor.core.service import ContentView
from supervisor.templates import Template

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
    "elsewhere": "On another node",
}


class Index:
    """The page, in an administrator's own templates where there are some (file name → text).

    headers: what goes with it, such as the policy that lets nothing run or load.
    """

    def __init__(self, templates: Mapping[str, str] | None = None) -> None:
        self._template = Template("index", templates)
        self.headers = {
            "content-security-policy": f"{self._template.policy}; frame-ancestors 'none'",
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "cache-control": "no-store",
        }

    def render(self, views: Sequence[ContentView]) -> str:
        """Give the page. Links are relative, so that it works below any path of a front proxy.

        Reasons of failures stay out: anybody who reaches the server may read this page.
        """
        items = "\n".join(map(_item, views))
        contents = f'<ul class="contents">\n{items}\n</ul>' if views else EMPTY
        return self._template.render({"home": "."}, {"contents": contents})


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
        f'<li><span class="what">{link}{name}</span> <span class="state {kind}">{state}</span>'
        f' <span class="busy">{_busy(view)}</span></li>'
    )


def _busy(view: ContentView) -> str:
    """Say how many people use it and wait for it, in numbers alone; nothing where nobody does."""
    parts = []
    if view.sessions:
        parts.append(f"{view.sessions} session{'' if view.sessions == 1 else 's'}")
    if view.waiting:
        parts.append(f"{view.waiting} waiting")
    return ", ".join(parts)
