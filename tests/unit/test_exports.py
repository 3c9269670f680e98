"""The public API: every exported name is there, typed, documented, and cheap to import."""

from __future__ import annotations

import ast
import importlib
import inspect
from enum import Enum
from pathlib import Path

import pytest

import supervisor

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "supervisor" / "__init__.py"


@pytest.mark.parametrize("name", supervisor.__all__)
def test_an_exported_name_resolves(name: str) -> None:
    assert getattr(supervisor, name) is not None


def test_type_checkers_see_the_names_that_load_lazily() -> None:
    [block] = [
        node
        for node in ast.parse(SOURCE.read_text()).body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    seen = {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == set(supervisor.__all__) - {"__version__"}


@pytest.mark.parametrize("name", sorted(set(supervisor.__all__) - {"__version__"}))
def test_an_exported_class_or_function_has_a_docstring(name: str) -> None:
    value = getattr(supervisor, name)
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
        doc = inspect.getdoc(value)
        assert doc
        assert not (isinstance(value, type) and issubclass(value, Enum) and "Enum" in doc)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        importlib.import_module("supervisor").nothing  # noqa: B018


def test_the_package_carries_its_types() -> None:
    packages = [ROOT / "supervisor", *(ROOT / "plugins").glob("*/supervisor_*")]
    assert [] == [path for path in packages if not (path / "py.typed").exists()]
