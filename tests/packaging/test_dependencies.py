"""Every distribution declares exactly what it imports."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = [ROOT, *sorted((ROOT / "plugins").iterdir())]

# These run inside content's interpreters, with what is installed there.
FOREIGN = ("supervisor_python/launch.py", "supervisor_python/probe.py")


def packages_imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
    return names - sys.stdlib_module_names


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[ <>=~!\[;]", name)[0]).lower()


@pytest.mark.parametrize("source", DISTRIBUTIONS, ids=lambda path: path.name)
def test_a_distribution_declares_what_it_imports_and_nothing_else(source: Path) -> None:
    project = tomllib.loads((source / "pyproject.toml").read_text())["project"]
    [package] = [path.parent for path in source.glob("supervisor*/__init__.py")]
    # an editable install lists no packages
    ours = {
        "supervisor": ["content-supervisor"],
        "content_supervisor_entry": ["content-supervisor"],
    }
    homes = {**packages_distributions(), **ours, package.name: [project["name"]]}
    needed: set[str] = set()
    testing: set[str] = set()
    for path in package.rglob("*.py"):
        if not str(path).endswith(FOREIGN):
            found = {normal(homes[name][0]) for name in packages_imported(path)}
            (testing if "testing" in path.parts else needed).update(found)
    own = normal(project["name"])
    extras = project.get("optional-dependencies", {})
    tests = {normal(item) for item in extras.pop("testing", [])}
    optional = {normal(item) for items in extras.values() for item in items}
    assert {normal(item) for item in project["dependencies"]} == needed - optional - {own}
    assert testing - needed - {own} <= tests
