"""What `supervisor new-plugin` writes is a plugin: its tests pass, it is clean, and it loads."""

from __future__ import annotations

import filecmp
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from supervisor.cli.new_plugin import KINDS

ROOT = Path(__file__).parents[2]
LEAST = {"executor": 25, "runtime": 15, "store": 50}  # tests that pass


def supervisor(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "supervisor", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def clean() -> dict[str, str]:
    """The environment of somebody who is not in a test of ours, nor in CI."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("plugins")
    for kind in KINDS:
        done = supervisor("new-plugin", kind, "odd-one", "--in", place)
        assert 0 == done.returncode, done.stderr
    return {kind: place / f"{kind}-odd-one" for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_the_tests_of_a_new_plugin_pass_at_once(kind: str, folders: dict[str, Path]) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(
        command, cwd=folders[kind], env=clean(), capture_output=True, text=True, timeout=300
    )
    assert 0 == done.returncode, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= LEAST[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_typed_and_loads(kind: str, folders: dict[str, Path]) -> None:
    cache = f"--cache-dir={folders[kind].with_name('types')}"  # what mypy knows of ours
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", cache, "supervisor_odd_one.py", "tests"],
        cwd=folders[kind],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == done.returncode, done.stdout
    script = """
import trio, supervisor_odd_one
from supervisor import Context
from supervisor.plugins.loading import Plugins
plugins = Plugins()
context = Context(data_dir="/d", run_dir="/r", settings={}, rootless=True)
async def load():
    await plugins.load(context, extra=[("odd", supervisor_odd_one)], installed=False)
trio.run(load)
print(plugins.views())
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folders[kind],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"gives=('{kind} odd-one',), problem=''" in done.stdout, done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_builds_a_wheel_with_its_entry_point(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=folders[kind],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert 0 == done.returncode, done.stderr
    [wheel] = tmp_path.glob(f"content_supervisor_{kind}_odd_one-*.whl")
    [points] = [name for name in zipfile.ZipFile(wheel).namelist() if "entry_points" in name]
    assert f"{kind}-odd-one = supervisor_odd_one" in zipfile.ZipFile(wheel).read(points).decode()


def test_the_example_is_what_the_command_writes(tmp_path: Path) -> None:
    supervisor("new-plugin", "executor", "minimal", "--in", tmp_path)
    written = tmp_path / "executor-minimal"
    for path in sorted(path for path in written.rglob("*") if path.is_file()):
        example = ROOT / "examples" / "executor-minimal" / path.relative_to(written)
        assert filecmp.cmp(path, example, shallow=False), f"{example} is not what is written"
    module = written / "supervisor_minimal.py"
    assert len(module.read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", ["", "Big", "1st", "a_b", "a--b", "../x", "x" * 41, "ü"])
def test_a_name_that_cannot_be_is_refused(name: str, tmp_path: Path) -> None:
    done = supervisor("new-plugin", "executor", "--in", tmp_path, "--", name)
    assert (64, []) == (done.returncode, [*tmp_path.iterdir()])
    assert "cannot be the name of a plugin" in done.stderr


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "store-mine").mkdir()
    done = supervisor("new-plugin", "store", "mine", "--in", tmp_path)
    assert 75 == done.returncode
    assert "is already there" in done.stderr
    assert [] == [*(tmp_path / "store-mine").iterdir()]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = supervisor("new-plugin", "store", "mine", "--in", tmp_path / "file" / "below")
    assert 77 == done.returncode
    assert "cannot be written" in done.stderr
