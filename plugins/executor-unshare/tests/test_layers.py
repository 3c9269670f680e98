"""The folders of this plugin import downwards only, as its README says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import supervisor_unshare

PACKAGE = Path(supervisor_unshare.__file__).parent
LAYERS = ("linux", "requests", "limits", "network", "root", "sandbox", "tiers", "helper")


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*/*.py")), ids=lambda path: path.name)
def test_a_folder_imports_only_from_those_below_it(path: Path) -> None:
    allowed = LAYERS[: LAYERS.index(path.parent.name) + 1]
    nodes = ast.walk(ast.parse(path.read_text()))
    for node in (one for one in nodes if isinstance(one, ast.ImportFrom)):
        package, _, inner = (node.module or "").partition(".")
        if package == "supervisor_unshare":
            assert inner.split(".")[0] in allowed, f"{path} imports {node.module}"


def test_every_folder_is_a_layer() -> None:
    folders = {path.parent.relative_to(PACKAGE).parts[0] for path in PACKAGE.glob("*/*.py")}
    assert set(LAYERS) == folders
