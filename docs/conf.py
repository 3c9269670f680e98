"""How Sphinx builds the site (`./dev docs`); nothing of it needs a network, to build or to read."""

from __future__ import annotations

import sys
from pathlib import Path

from supervisor import __version__

sys.path.insert(0, str(Path(__file__).parent))  # for site_parts

project = "content-supervisor"
release = version = __version__
language = "en"

extensions = ["myst_parser", "site_parts"]
exclude_patterns = ["changelog.d", "images"]
myst_heading_anchors = 4
myst_enable_extensions = ["deflist"]
myst_fence_as_directive = ["mermaid"]
myst_links_external_new_tab = True
nitpicky = True

html_theme = "furo"
html_title = f"content-supervisor {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_theme_options = {
    "sidebar_hide_name": False,
    "footer_icons": [],
}
