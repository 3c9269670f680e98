"""Recognising a Shiny for Python app in a bundle."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from supervisor import ContentKind, Detected, SourceFile

APP_MODE = "python-shiny"
_IMPORTS_SHINY = re.compile(r"^(?:from|import)[ \t]+shiny\b", re.MULTILINE)


def detect(files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
    """Say that the bundle is a Shiny for Python app (core or express), or None.

    A manifest with an app mode decides, and its entrypoint is kept as it is: `app`, `module:object`
    or `shiny.express.app:app_2e_py`. Without one it is an app.py that imports shiny.
    """
    metadata = manifest.get("metadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    mode = metadata.get("appmode")
    if mode == APP_MODE:
        entrypoint = metadata.get("entrypoint")
        return _found(entrypoint if isinstance(entrypoint, str) and entrypoint else "app", 100)
    if mode:
        return None
    source = next((file.text for file in files if file.path == "app.py"), None)
    return _found("app", 50) if source and _IMPORTS_SHINY.search(source) else None


def _found(entrypoint: str, score: int) -> Detected:
    return Detected(
        runtime="python",
        kind=ContentKind.APP,
        app_mode=APP_MODE,
        entrypoint=entrypoint,
        score=score,
    )
