"""The Python runtime keeps the promises of every runtime."""

from __future__ import annotations

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
