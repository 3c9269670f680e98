"""What the wheels hold, and that they work outside the checkout, also beside supervisord."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

import supervisor

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = [ROOT, *sorted((ROOT / "plugins").iterdir())]


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300
    )


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every distribution's wheel, by the name of its package."""
    built: dict[str, Path] = {}
    for source in DISTRIBUTIONS:
        target = tmp_path_factory.mktemp("wheel")
        done = run(
            sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", target, cwd=source
        )
        assert 0 == done.returncode, done.stderr
        [package] = [path.parent.name for path in source.glob("supervisor*/__init__.py")]
        [built[package]] = target.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def environment(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with our wheels, and the third-party packages of the checkout."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, with_pip=True, symlinks=True)
    install = (place / "bin" / "python", "-m", "pip", "install", "--no-index", "--no-deps")
    done = run(*install, *wheels.values(), cwd=place)
    assert 0 == done.returncode, done.stderr
    [packages] = place.glob("lib/python*/site-packages")
    (packages / "third-party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_the_package_and_the_entry_module_and_nothing_else(
    wheels: dict[str, Path],
) -> None:
    inside = names(wheels["supervisor"])
    assert {"content_supervisor_entry.py", "supervisor/__init__.py"} <= inside
    tops = {name.split("/")[0] for name in inside if ".dist-info/" not in name}
    assert {"content_supervisor_entry.py", "supervisor"} == tops


def test_every_wheel_holds_all_its_files_its_types_and_the_licence(
    wheels: dict[str, Path],
) -> None:
    for source, (package, wheel) in zip(DISTRIBUTIONS, wheels.items(), strict=True):
        inside = names(wheel)
        files = {
            str(path.relative_to(source))
            for path in (source / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert f"{package}/py.typed" in files
        assert set() == files - inside
        assert set() == {name for name in inside if "tests" in Path(name).parts}
    assert any(name.endswith("licenses/LICENSE") for name in names(wheels["supervisor"]))


def test_the_command_runs_from_the_wheels(environment: Path, tmp_path: Path) -> None:
    done = run(environment / "bin" / "supervisor", "--version", cwd=tmp_path)
    assert (0, True) == (done.returncode, supervisor.__version__ in done.stdout), done.stderr


def test_the_plugins_are_found_from_the_wheels(environment: Path, tmp_path: Path) -> None:
    script = """
import sys
from importlib.metadata import entry_points
for group in ("content_supervisor.v1", "content_supervisor.helpers"):
    for point in entry_points(group=group):
        assert point.load().__file__.startswith(sys.prefix), point
        print(point.name)
"""
    done = run(environment / "bin" / "python", "-c", script, cwd=tmp_path)
    expected = {
        "executor-kubernetes", "executor-unshare", "runtime-python", "runtime-r", "store-sql",
        "unshare",
    }  # fmt: skip
    assert expected == set(done.stdout.split()), done.stderr


def test_beside_supervisord_the_command_says_what_is_wrong(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    venv.create(tmp_path, with_pip=True, symlinks=True)
    pip = (tmp_path / "bin" / "python", "-m", "pip", "install", "--no-deps", "--quiet")
    done = run(*pip, wheels["supervisor"], "supervisor==4.3.0", cwd=tmp_path)
    if "No matching distribution" in done.stderr:
        pytest.skip("needs a package index with supervisord")
    assert 0 == done.returncode, done.stderr
    done = run(tmp_path / "bin" / "supervisor", "--version", cwd=tmp_path)
    assert (1, "") == (done.returncode, done.stdout)
    assert "supervisor: this Python environment also holds" in done.stderr
    assert "(supervisord) 4.3.0" in done.stderr
