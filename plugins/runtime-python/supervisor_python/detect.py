"""Recognising a Shiny for Python or Streamlit app in a bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor import ContentKind, Detected, SourceFile
from supervisor_python import streamlit

APP_MODE = "python-shiny"
_IMPORTS_SHINY = re.compile(r"^(?:from|import)[ \t]+shiny\b", re.MULTILINE)
# app mode → what its app.py imports, and the entry point where no manifest names one
_KNOWN = {APP_MODE: (_IMPORTS_SHINY, "app"), streamlit.APP_MODE: (streamlit.IMPORTS, "app.py")}


def detect(files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
    """Say that the bundle is a Shiny for Python app (core or express) or a Streamlit app, or None.

    A manifest with an app mode decides, and its entrypoint is kept as it is: `app`, `module:object`
    or `shiny.express.app:app_2e_py`. Without one it is an app.py that imports shiny or streamlit.
    """
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    mode = metadata.get("appmode")
    if isinstance(mode, str) and mode in _KNOWN:
        entrypoint = metadata.get("entrypoint")
        usual = _KNOWN[mode][1]
        return _found(
            mode, entrypoint if isinstance(entrypoint, str) and entrypoint else usual, 100
        )
    if mode:
        return None
    source = next((file.text for file in files if file.path == "app.py"), None) or ""
    for app_mode, (imports, usual) in _KNOWN.items():
        if imports.search(source):
            return _found(app_mode, usual, 50)
    return None


def _found(app_mode: str, entrypoint: str, score: int) -> Detected:
    return Detected(
        runtime="python",
        kind=ContentKind.APP,
        app_mode=app_mode,
        entrypoint=entrypoint,
        score=score,
    )
