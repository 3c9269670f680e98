"""What the site has beyond Markdown: tables in place of state diagrams, the changelog.

Mermaid draws in the reader's browser with a program from the network. The site must not need
one, so a diagram of states becomes a table with the same arrows.
"""

from __future__ import annotations

import re
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

NOTES = Path(__file__).parent / "changelog.d"
KINDS = ("security", "removed", "changed", "added", "fixed")
_ARROW = re.compile(r"^\s*(\S+) --> (\S+?)(?:: (.+))?$", re.MULTILINE)


def transitions(diagram: str) -> list[tuple[str, str, str]]:
    """Give (state, event, next state) for each arrow of a Mermaid state diagram."""
    found = []
    for was, now, events in _ARROW.findall(diagram):
        if now != "[*]":
            found.append(("(new)" if was == "[*]" else was, events, now))
    return found


def changelog() -> str:
    """Give the notes of all changes since the last release as Markdown, by kind."""
    parts = []
    for kind in KINDS:
        notes = [path.read_text().strip() for path in sorted(NOTES.glob(f"*.{kind}.md"))]
        if notes:
            lines = (f"- {note}" for note in notes)
            parts.append(f"## {kind.title()}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


class Mermaid(SphinxDirective):
    """A state diagram as a table; any other diagram as its text."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        text = "\n".join(self.content)
        if not text.startswith("stateDiagram"):
            return [nodes.literal_block(text, text, language="text")]
        rows = ["| state | event | next |", "|---|---|---|"]
        before = ""
        for was, event, now in transitions(text):
            rows.append(f"| {'' if was == before else was} | {event} | {now} |")
            before = was
        return self.parse_text_to_nodes("\n".join(rows))


class Changelog(SphinxDirective):
    """All change notes, by kind."""

    def run(self) -> list[nodes.Node]:
        for path in (NOTES, *NOTES.iterdir()):
            self.env.note_dependency(path)
        return self.parse_text_to_nodes(changelog(), allow_section_headings=True)


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("mermaid", Mermaid)
    app.add_directive("changelog", Changelog)
    return {"parallel_read_safe": True}
