"""The arrows of docs/design/architecture.md: every module imports only what lies below it."""

from __future__ import annotations

import ast
import graphlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Bottom first. A line may import itself and the lines above it in this list; `core.` stands for
# what of the core has no line of its own.
LAYERS = (
    "accounts bounds errors exposition layout lifecycle limits network packets log programs "
    "sampling sink "
    "site_mounts stacks templates unixsocket volume",
    "settings",
    "model wire plugins. plugins.context",
    "execution listener interfaces plugins.hookspecs spawning",
    "policy rights unpack paths",
    "plugins.given plugins.leaks",
    "plugins.installed",
    "plugins.loading",
    "core. core.storage",
    "core.runs",
    "core.scheduling",
    "core.routing core.upkeep",
    "core.contents",
    "core.findings core.scrape",
    "core.server core.load",
    "api pages",
    "cli parent testing core.__main__ core.migrate",
    "__main__",
)
BOTTOM = frozenset(LAYERS[0].split())

# Parts that must start without any third-party package, and what of ours they may use.
STANDARD_LIBRARY_ONLY: dict[str, frozenset[str]] = {
    **dict.fromkeys(BOTTOM, BOTTOM),
    "settings": BOTTOM | {"settings"},
    "parent": BOTTOM | {"settings", "parent"},
    "gateway": BOTTOM | {"gateway"},
}


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Yield the dotted names that a file imports; `from supervisor import x` as supervisor.x."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "supervisor":
                names = (alias.name for alias in node.names if alias.name != "__version__")
                yield from (f"supervisor.{name}" for name in names)
            elif node.module:
                yield node.module


def own(path: Path) -> str:
    """Give the name of a module without the package: `core.worker`, `gateway.head`, `errors`."""
    parts = path.relative_to(ROOT / "supervisor").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def layer(module: str) -> int | None:
    """Give the index of the module's line, the most exact entry winning."""
    found: dict[str, int] = {}
    for index, line in enumerate(LAYERS):
        for entry in line.split():
            whole = entry.rstrip(".")
            if module == whole or module.startswith(f"{whole}."):
                found[entry] = index
    return found[max(found, key=len)] if found else None


def home(name: str) -> str | None:
    """Give our module behind an imported name: `supervisor.errors` → `errors`; None if not ours."""
    if name == "supervisor" or not name.startswith("supervisor."):
        return None
    name = name.removeprefix("supervisor.")
    if "." not in name and not _is_module(name):
        import supervisor

        return supervisor._HOME.get(name, "supervisor.").removeprefix("supervisor.") or None
    return name


def _is_module(name: str) -> bool:
    path = ROOT / "supervisor" / name
    return path.is_dir() or path.with_suffix(".py").is_file()


OURS = [path for path in modules("supervisor") if own(path)]


@pytest.mark.parametrize("path", OURS, ids=own)
def test_a_module_imports_only_from_its_own_layer_or_below(path: Path) -> None:
    me = own(path)
    part = me.split(".")[0]
    for name in imports(path):
        target = home(name)
        if part in STANDARD_LIBRARY_ONLY:
            allowed = STANDARD_LIBRARY_ONLY[part]
            if target is not None:
                assert target.split(".")[0] in allowed, f"{me} must not import {name}"
            else:
                root = name.split(".")[0]
                assert root in sys.stdlib_module_names, f"{me} is standard library only: {name}"
        if target is None or part == "gateway":
            continue
        mine, theirs = layer(me), layer(target)
        assert mine is not None, f"{me} has no line in LAYERS of this test: give it one"
        assert theirs is not None, f"{me} imports {name}, which has no line in LAYERS"
        assert theirs <= mine, f"{me} imports {name}, which lies above it"


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Also for types alone: whoever reads one of them should not have to read the other first."""
    names = {f"supervisor.{own(path)}" for path in OURS}
    needs: dict[str, set[str]] = {}
    for path in OURS:
        found = needs[f"supervisor.{own(path)}"] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= names & parts or names & {node.module}
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError with the way


@pytest.mark.parametrize(
    "path", modules("plugins", "examples"), ids=lambda path: str(path.relative_to(ROOT))
)
def test_a_plugin_imports_only_public_names(path: Path) -> None:
    import supervisor

    for name in imports(path):
        if name.split(".")[0] != "supervisor" or name == "supervisor":
            continue
        public = name.removeprefix("supervisor.").split(".")[0]
        assert public in {*supervisor.__all__, "testing"}, f"{name} is not public"
        inner = name.count(".") > 1 and public != "testing"
        assert not inner, f"{name} reaches inside a public module"


@pytest.mark.parametrize(
    "module",
    ["supervisor", "supervisor.parent", "supervisor.gateway", "supervisor_unshare.launcher"],
)
def test_what_runs_as_root_or_parses_the_network_loads_only_the_standard_library(
    module: str,
) -> None:
    allowed = {"supervisor", "supervisor_unshare", "__main__", "_distutils_hack"}
    script = f"""
import sys
before = set(sys.modules)
import {module}
loaded = {{name.split(".")[0] for name in set(sys.modules) - before}}
print(*sorted(loaded - sys.stdlib_module_names - {allowed!r}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (0, "") == (done.returncode, done.stdout.strip()), done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_help_and_version_load_neither_trio_nor_sqlalchemy(arguments: list[str]) -> None:
    script = f"""
import sys
sys.argv = ["supervisor", *{arguments!r}]
from content_supervisor_entry import main
try:
    status = main()
except SystemExit as end:
    status = end.code
print(status or 0, "trio" in sys.modules, "sqlalchemy" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert "0 False False" == done.stderr.strip().splitlines()[-1]
