"""The R runtime keeps the promises of every runtime."""

from __future__ import annotations

from typing import Any

import pytest
from supervisor_r.runtime import RRuntime

from supervisor.testing import MadeBundle, RuntimeContract


class TestRRuntime(RuntimeContract):
    bundles = (
        MadeBundle(files={"app.R": "library(shiny)"}),
        MadeBundle(files={"server.R": "", "ui.R": "", "www/logo.svg": "<svg/>"}),
        MadeBundle(files={"app.R": ""}, manifest={"metadata": {"appmode": "shiny"}}),
    )

    @pytest.fixture
    def runtime(self) -> RRuntime:
        return RRuntime()

    @pytest.fixture
    def served_bundle(self, needs: Any) -> MadeBundle:
        needs.r("shiny")
        return MadeBundle(
            files={"app.R": "library(shiny)\nshinyApp(fluidPage('hello'), function(...) NULL)\n"}
        )
