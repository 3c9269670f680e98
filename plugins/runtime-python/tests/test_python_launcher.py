"""The programs that run inside the content's Python keep to old Python."""

from __future__ import annotations

import ast
from importlib.resources import files

import pytest


@pytest.mark.parametrize("name", ["launch.py", "probe.py"])
def test_a_program_keeps_to_the_syntax_of_python_3_7(name: str) -> None:
    source = files("supervisor_python").joinpath(name).read_text("utf-8")
    ast.parse(source, feature_version=(3, 7))


def test_the_launcher_fits_into_one_variable_of_the_environment() -> None:
    assert len(files("supervisor_python").joinpath("launch.py").read_bytes()) < 64 << 10
