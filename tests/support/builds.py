"""Wheels of this tree and of changed copies of it, and an environment to install them in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
_NOT_BUILT = shutil.ignore_patterns(".*", "tests", "docs", "bench", "examples", "__pycache__")


def build(target: Path, *, changes: Mapping[str, tuple[str, str]], plugins: bool = True) -> Path:
    """Build the wheels of a copy of this tree into a new directory and give that.

    changes: path → text that stands there, and what takes its place. Without `plugins` only the
    wheel of the server itself is built.
    """
    copy = target / "tree"
    shutil.copytree(ROOT, copy, ignore=_NOT_BUILT, symlinks=True)
    for path, (old, new) in changes.items():
        text = (copy / path).read_text()
        assert old in text, f"{path} has changed"
        (copy / path).write_text(text.replace(old, new, 1))
    wheels = target / "wheels"
    for source in (copy, *(sorted((copy / "plugins").iterdir()) if plugins else ())):
        _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", wheels, cwd=source)
    return wheels


def environment(place: Path) -> Path:
    """Make a virtual environment with the third-party packages of the checkout; give its python."""
    venv.create(place, symlinks=True)
    [packages] = place.glob("lib/python*/site-packages")
    (packages / "third-party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin" / "python"


def install(python: Path, wheels: Path) -> None:
    """Install all wheels of a directory over whatever is installed."""
    offline = ("--no-index", "--no-deps", "--force-reinstall", "--quiet", "--no-cache-dir")
    pip = (sys.executable, "-m", "pip", "--python", python)
    _run(*pip, "install", *offline, *sorted(wheels.glob("*.whl")), cwd=wheels)


def change(python: Path, changes: Mapping[str, tuple[str, str]]) -> None:
    """Change installed files: path in the tree → text that stands there, and what replaces it."""
    [packages] = python.parents[1].glob("lib/python*/site-packages")
    for path, (old, new) in changes.items():
        parts = Path(path).parts
        file = packages.joinpath(*(parts[2:] if parts[0] == "plugins" else parts))
        text, was = file.read_text(), file.stat().st_mtime
        assert old in text, f"{path} has changed"
        file.write_text(text.replace(old, new, 1))
        # What was compiled counts while size and second of the source are the same.
        os.utime(file, (was + 2, was + 2))


def _run(*command: str | Path, cwd: Path) -> None:
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=300, check=False
    )
    assert 0 == done.returncode, done.stdout + done.stderr
