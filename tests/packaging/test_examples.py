"""The example plugins are packages: their wheels, installed, give the server their executors."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = """
import trio
from supervisor import Context
from supervisor.plugins.loading import Plugins

settings = {"podman": {"image": ["x"]}}
context = Context(data_dir="/d", run_dir="/r", settings=settings, rootless=True)
plugins = Plugins()
trio.run(plugins.load, context)
print(*[f"{view.name}={view.gives}{view.problem}" for view in plugins.views()], sep="\\n")
"""


def run(*command: str | Path, **fields: str) -> str:
    env = {**os.environ, **fields}
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120)
    assert 0 == done.returncode, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["minimal", "podman"])
def test_an_example_that_was_installed_gives_its_executor(name: str, tmp_path: Path) -> None:
    source, wheels, place = ROOT / "examples" / f"executor-{name}", tmp_path / "w", tmp_path / "p"
    build = ("-m", "hatchling", "build", "-t", "wheel", "-d", wheels)
    subprocess.run([sys.executable, *build], cwd=source, check=True, capture_output=True)
    [wheel] = wheels.iterdir()
    install = ("-m", "pip", "install", "--no-index", "--no-deps", "--target", place)
    run(_python_with_pip(), *install, wheel)
    told = run(sys.executable, "-c", SCRIPT, PYTHONPATH=str(place)).splitlines()
    assert f"executor-{name}=('executor {name}',)" in told


def _python_with_pip() -> str:
    base = getattr(sys, "_base_executable", sys.executable)
    for python in (sys.executable, base):
        if subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0:
            return str(python)
    pytest.skip("needs pip")
