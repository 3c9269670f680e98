"""Whether an administrator's own templates make pages that work and load nothing from elsewhere."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from supervisor.templates import PAGES, SCRIPT, SLOT

# Attributes that make a browser load, send or run something.
_LOADING = frozenset(
    "src srcset href xlink:href action formaction poster data background manifest ping".split()
)
_LINKS = frozenset(("a", "area"))
_LINK = re.compile(r"(?:https?:|mailto:|tel:|#|\Z)", re.IGNORECASE)
_EMBEDDED = re.compile(r"(?:data:|#|\Z)", re.IGNORECASE)
_WHOLE_SLOT = re.compile(r"\{\{\w+\}\}")
_STYLE_URL = re.compile(r"url\(\s*['\"]?\s*(?!data:|#)([^)'\"]*)|(@import\b)", re.IGNORECASE)


def check(name: str, text: str) -> None:
    """Raise ValueError with the reason why this text cannot be the template `name` (`base.html`).

    Wanted are: only slots that the page has, all that it needs, and no resource from elsewhere.
    """
    page = PAGES.get(name.removesuffix(".html"))
    if page is None or not name.endswith(".html"):
        known = ", ".join(f"{known}.html" for known in PAGES)
        raise ValueError(f"there is no page of this name; there are {known}")
    found: set[str] = set()
    for slot in SLOT.finditer(text):
        raw = slot[1] is not None
        key = slot[1] if raw else slot[2]
        if key not in (page.raw if raw else page.slots):
            slots = [f"{{{{{slot}}}}}" for slot in sorted(page.slots)]
            slots += [f"{{{{{{{slot}}}}}}}" for slot in sorted(page.raw)]
            raise ValueError(f"it has the unknown slot {slot[0]}; there are {', '.join(slots)}")
        found.add(key)
    for key in sorted(page.needed - found):
        marks = "{{{%s}}}" if key in page.raw else "{{%s}}"
        raise ValueError(f"it lacks {marks % key}")
    for script in SCRIPT.findall(text):
        if SLOT.search(script):
            raise ValueError("a slot stands in a script, which runs only as it is written")
    _Resources(text)


class _Resources(HTMLParser):
    """Raises ValueError for what is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._styles = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._styles = tag == "style"
        if tag == "base":
            raise ValueError("<base> would move every address of the page")
        for name, value in attrs:
            value = (value or "").strip()
            if name == "style":
                self._check_style(value)
            elif name.startswith("on"):
                raise ValueError(f"{name}= on <{tag}>: only a <script> of the page runs")
            elif name in _LOADING and not self._fits(tag, value):
                raise ValueError(
                    f'<{tag} {name}="{value[:60]}"> refers to another resource; write images into'
                    " the page as data: URLs"
                )

    def handle_data(self, data: str) -> None:
        if self._styles:
            self._check_style(data)

    def handle_endtag(self, tag: str) -> None:
        self._styles = False

    def _fits(self, tag: str, value: str) -> bool:
        if _WHOLE_SLOT.fullmatch(value):
            return True  # an address of ours
        if tag in _LINKS:
            return _LINK.match(value) is not None
        return tag != "script" and _EMBEDDED.match(value) is not None

    def _check_style(self, text: str) -> None:
        found = _STYLE_URL.search(text)
        if found:
            raise ValueError(f"its style loads {found[1] or found[2]}; use data: URLs")
