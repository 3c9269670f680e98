"""The Python runtime keeps the promises of every runtime."""

from __future__ import annotations

from typing import Any

import pytest
from supervisor_python.runtime import PythonRuntime

from supervisor.testing import MadeBundle, RuntimeContract


class TestPythonRuntime(RuntimeContract):
    bundles = (
        MadeBundle(files={"app.py": "from shiny import App\n", "data.csv": "a,b"}),
        MadeBundle(files={"main.py": ""}, manifest={"metadata": {"appmode": "python-shiny"}}),
    )

    @pytest.fixture
    def runtime(self) -> PythonRuntime:
        return PythonRuntime()

    @pytest.fixture
    def served_bundle(self, needs: Any) -> MadeBundle:
        self.settings = f"[Python]\nExecutable = {needs.python('shiny')}\n"
        return MadeBundle(files={"app.py": "from shiny.express import ui\n\nui.h1('hello')\n"})
