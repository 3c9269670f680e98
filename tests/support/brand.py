"""The templates that docs/howto/brand-pages.md shows."""

from __future__ import annotations

import re
from pathlib import Path

HOWTO = Path(__file__).parents[2] / "docs" / "howto" / "brand-pages.md"
_BLOCK = re.compile(r"^```html\n<!-- (\S+) -->\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def shown_templates() -> dict[str, str]:
    """Give file name → text."""
    return dict(_BLOCK.findall(HOWTO.read_text()))
