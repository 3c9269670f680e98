"""What the wheels hold, and that they work outside the checkout, also beside supervisord."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

import supervisor
from supervisor.errors import CODES
from tests.support.server import LiveServer, server_directory
from tests.support.sessions import open_sessions

if TYPE_CHECKING:
    from conftest import Needs
else:
    Needs = object

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
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of others that the checkout has, as if they had been installed alone."""
    folder = tmp_path_factory.mktemp("third-party")
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(("content_supervisor", "_")) and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="session")
def bare(wheels: dict[str, Path], third_party: Path) -> Iterator[Path]:
    """An environment with our wheel alone."""
    with installed(wheels, third_party, str(wheels["supervisor"])) as place:
        yield place


@pytest.fixture(scope="session")
def environment(wheels: dict[str, Path], third_party: Path) -> Iterator[Path]:
    """An environment with all plugins, as the extra `all` brings them."""
    with installed(wheels, third_party, "content-supervisor[all]") as place:
        yield place


@contextmanager
def installed(wheels: dict[str, Path], third_party: Path, what: str) -> Iterator[Path]:
    """Make a virtual environment that every user can read."""
    with server_directory() as place:
        venv.create(place, symlinks=True)
        packages = site_packages(place)
        for path in third_party.iterdir():
            if not (packages / path.name).exists():
                (packages / path.name).symlink_to(path.readlink())
        links = [f"--find-links={wheel.parent}" for wheel in wheels.values()]
        done = run(*pip(place), "install", "--no-index", "--quiet", *links, what, cwd=place)
        assert 0 == done.returncode, done.stderr
        yield place


def pip(place: Path) -> tuple[str | Path, ...]:
    """Our pip, which works on an environment: to give that one of its own takes seconds."""
    return (sys.executable, "-m", "pip", "--python", place / "bin" / "python")


def site_packages(place: Path) -> Path:
    [packages] = place.glob("lib/python*/site-packages")
    return packages


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
        ours = {name for name in inside if "skeletons" not in Path(name).parts}  # those are text
        assert set() == {name for name in ours if "tests" in Path(name).parts}
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


@pytest.mark.system
def test_without_plugins_the_server_says_what_is_missing_and_how_to_install_it(
    bare: Path, needs: Needs
) -> None:
    needs.root()
    with server_directory() as base:
        server = LiveServer(base, python=bare / "bin" / "python")
        server.start(wait=False)
        assert server.process is not None
        assert CODES["no-store"].exit == server.process.wait(30)
        log = server.log()
    assert "no store (what keeps the records), no executor" in log
    assert f"{bare}/bin/python -m pip install 'content-supervisor[all]'" in log


@pytest.mark.system
@pytest.mark.parametrize("uid", [0, 61910], ids=["as-root", "not-as-root"])
async def test_a_server_from_the_wheels_serves_content(
    environment: Path, uid: int, needs: Needs
) -> None:
    needs.root()
    needs.python("shiny")
    with server_directory(uid) as base:
        server = LiveServer(base, uid=uid, python=environment / "bin" / "python")
        try:
            server.start()
            path = server.deploy(ROOT / "examples" / "shiny-python-core", "hello")
            async with open_sessions([(server.url + path, "total")]) as [one]:
                await one.answers(12)
            for part in (server.core, server.gateway, server.helper):
                assert f"{environment}/" in psutil.Process(part).cmdline()[0]
        finally:
            server.end()


SUPERVISORD = "supervisor==4.3.0"


def refused(place: Path, *arguments: str | Path) -> str:
    """Install something beside ours; give what our command then says."""
    done = run(*pip(place), "--quiet", *arguments, cwd=place)
    if "No matching distribution" in done.stderr:
        pytest.skip("needs a package index with supervisord")
    assert 0 == done.returncode, done.stderr
    done = run(place / "bin" / "supervisor", "--version", cwd=place)
    assert (1, "") == (done.returncode, done.stdout)
    assert "Traceback" not in done.stderr
    return done.stderr


def test_beside_supervisord_the_command_says_what_is_wrong_and_after_it_too(
    wheels: dict[str, Path], tmp_path: Path, third_party: Path
) -> None:
    venv.create(tmp_path, symlinks=True)
    (site_packages(tmp_path) / "third-party.pth").write_text(f"{third_party}\n")
    said = refused(tmp_path, "install", "--no-deps", wheels["supervisor"], SUPERVISORD)
    assert "supervisor: this Python environment also holds" in said
    assert "(supervisord) 4.3.0" in said
    said = refused(tmp_path, "uninstall", "--yes", "supervisor")
    assert "files of content-supervisor are missing" in said
    assert f"{tmp_path}/bin/python -m pip install --force-reinstall" in said


def test_beside_supervisord_an_editable_install_says_so_too(
    tmp_path: Path, third_party: Path
) -> None:
    venv.create(tmp_path, symlinks=True)
    (site_packages(tmp_path) / "third-party.pth").write_text(f"{third_party}\n")
    editable = ("--no-deps", "--no-build-isolation", "--editable", ROOT, SUPERVISORD)
    assert "(supervisord) 4.3.0" in refused(tmp_path, "install", *editable)


def test_a_supervisord_that_is_not_in_our_folder_is_no_reason_to_refuse(
    environment: Path, tmp_path: Path
) -> None:
    (tmp_path / "supervisor").mkdir()
    (tmp_path / "supervisor-4.2.5.dist-info").mkdir()
    metadata = tmp_path / "supervisor-4.2.5.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: supervisor\nVersion: 4.2.5\n")
    script = (
        f"import sys; sys.path.append({str(tmp_path)!r}); import content_supervisor_entry as it;"
    )
    script += "sys.argv[1:] = ['--version']; sys.exit(it.main())"
    done = run(environment / "bin" / "python", "-c", script, cwd=tmp_path)
    assert (0, True) == (done.returncode, supervisor.__version__ in done.stdout), done.stderr
