"""Recognising an R Shiny app in a bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from supervisor import ContentKind, Detected, SourceFile

APP_MODE = "shiny"


def detect(files: Sequence[SourceFile], manifest: Mapping[str, Any]) -> Detected | None:
    """Say that the bundle is an R Shiny app, or None.

    A manifest with an app mode decides. Without one it is an app.R, or a server.R beside a ui.R or
    a www/index.html; upper and lower case are alike, as they are for Shiny.
    """
    metadata = manifest.get("metadata")
    mode = metadata.get("appmode") if isinstance(metadata, Mapping) else None
    if mode and mode != APP_MODE:
        return None
    names = {file.path.lower(): file.path for file in files}
    if "app.r" in names:
        entrypoint = names["app.r"]
    elif "server.r" in names and (mode or "ui.r" in names or "www/index.html" in names):
        entrypoint = names["server.r"]
    else:
        return None
    return Detected(
        runtime="r",
        kind=ContentKind.APP,
        app_mode=APP_MODE,
        entrypoint=entrypoint,
        score=100 if mode else 50,
    )
