"""The public API: every exported name is there, typed, documented, and cheap to import."""

from __future__ import annotations

import ast
import importlib
import inspect
from enum import Enum
from pathlib import Path

import pytest

import supervisor
import supervisor.testing

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "supervisor" / "__init__.py"


@pytest.mark.parametrize("name", supervisor.__all__)
def test_an_exported_name_resolves(name: str) -> None:
    assert getattr(supervisor, name) is not None


def _seen(source: Path) -> set[str]:
    """The names that a type checker sees in the block of a module that loads them lazily."""
    [block] = [
        node
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    return {
        alias.asname or alias.name
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_see_the_names_that_load_lazily() -> None:
    assert _seen(SOURCE) == set(supervisor.__all__) - {"__version__"}


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


@pytest.mark.parametrize("name", supervisor.testing.__all__)
def test_a_name_of_the_kit_resolves_and_has_a_docstring(name: str) -> None:
    value = getattr(supervisor.testing, name)
    if inspect.isclass(value) or inspect.isfunction(value) or inspect.ismodule(value):
        assert inspect.getdoc(value)


def test_type_checkers_see_the_names_of_the_kit() -> None:
    assert _seen(ROOT / "supervisor" / "testing" / "__init__.py") == set(supervisor.testing.__all__)
