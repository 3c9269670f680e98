"""The Debian package on a machine of its own, booted with systemd: from install to purge."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import doctor_page
from tests.support.nspawn import Machine
from tests.support.sessions import open_sessions

if TYPE_CHECKING:
    from conftest import Needs
else:
    Needs = object

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[2]
APP = ROOT / "examples" / "shiny-python-core"
UNIT = "content-supervisor"
DATA = "/var/lib/content-supervisor"
CONFIGURATION = "/etc/content-supervisor/supervisor.gcfg"


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, needs: Needs) -> Path:
    """The package of this checkout."""
    needs.root()
    needs.program("dpkg-deb")
    place = tmp_path_factory.mktemp("package")
    done = subprocess.run(
        [ROOT / "packaging" / "build-deb", place], capture_output=True, text=True, timeout=300
    )
    assert 0 == done.returncode, done.stderr
    return Path(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def newer(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a version of its own."""
    tree = tmp_path_factory.mktemp("newer") / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    [source] = tree.glob("usr/lib/content-supervisor/lib/python*/site-packages/supervisor")
    for file in (tree / "DEBIAN" / "control", source / "__init__.py"):
        text = file.read_text()
        new = re.sub(r'^(Version: |__version__ = ").*?("?)$', r"\g<1>9.9.9\2", text, flags=re.M)
        assert new != text
        file.write_text(new)
    compiled = ("-m", "compileall", "-qf", "--invalidation-mode", "unchecked-hash")
    subprocess.run(["/usr/bin/python3", *compiled, source / "__init__.py"], check=True)
    built = tree.parent / "newer.deb"
    subprocess.run(["dpkg-deb", "-Zgzip", "-z1", "--build", tree, built], check=True)
    return built


@pytest.fixture(scope="module")
def machine(needs: Needs) -> Iterator[Machine]:
    """A booted Debian that sees the examples and the Python of content."""
    needs.root()
    for program in ("systemd-nspawn", "debootstrap", "nsenter"):
        needs.program(program)
    interpreter = Path(needs.python("shiny"))
    booted = Machine(shown=[APP, interpreter.parents[1]])
    try:
        yield booted
    finally:
        booted.end()


@pytest.fixture(scope="module")
def installed(machine: Machine, package: Path, needs: Needs) -> str:
    """The package is installed; what dpkg said of it."""
    done = machine.run("dpkg", "--install", machine.put(package))
    until(lambda: "active" == show(machine, "ActiveState"))
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def url(machine: Machine, installed: str, needs: Needs) -> str:
    """The address of a deployed app."""
    interpreter = needs.python("shiny")
    venv = Path(interpreter).parents[1]
    with machine.path(CONFIGURATION).open("a") as file:
        file.write(f'[Python]\nExecutable = {interpreter}\n[Mount "python"]\nPath = {venv}\n')
    machine.run("systemctl", "reload", UNIT)
    until(lambda: 0 == machine.run("supervisor", "list", check=False).returncode)
    return machine.run("supervisor", "deploy", str(APP)).stdout.split()[-1]


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.1)


def show(machine: Machine, name: str) -> str:
    return machine.run("systemctl", "show", "--value", f"--property={name}", UNIT).stdout.strip()


def group(machine: Machine, pid: str) -> str:
    return machine.run("sh", "-c", f"cat /proc/{pid}/cgroup").stdout.rpartition("::")[2].strip()


def test_a_bare_debian_takes_the_package_and_the_server_runs_at_once(
    machine: Machine, installed: str
) -> None:
    assert "rror" not in installed
    assert ("active", "enabled") == (show(machine, "ActiveState"), show(machine, "UnitFileState"))
    assert [] == machine.run("systemctl", "--failed", "--no-legend").stdout.splitlines()
    doctor = machine.run("supervisor", "doctor").stdout
    doctor_page.hold("nspawn", doctor)
    assert 0o600 == machine.path(CONFIGURATION).stat().st_mode & 0o777
    assert 0o750 == machine.path(DATA).stat().st_mode & 0o777
    log = machine.run("journalctl", "--no-pager", f"--unit={UNIT}").stdout
    assert " WARNING " not in log
    assert " ERROR " not in log


def test_everything_lies_where_the_how_to_says(machine: Machine, installed: str) -> None:
    page = (ROOT / "docs" / "howto" / "install.md").read_text()
    part = page.split("## The Debian package")[1].split("\n## ")[0]
    paths = re.findall(r"`(/[^`]+)`", part)
    assert {DATA, CONFIGURATION} < set(paths)
    assert [] == [path for path in paths if not os.path.lexists(machine.path(path))]
    (users,) = re.findall(r"^\| users \| (.*) \|$", part, re.M)
    for name in re.findall(r"`([^`]+)`", users):
        machine.run("getent", "passwd", name)


def test_systemd_finds_no_fault_in_the_unit_and_setup_would_write_the_same(
    machine: Machine, installed: str
) -> None:
    done = machine.run("systemd-analyze", "verify", f"{UNIT}.service")
    assert "" == done.stdout + done.stderr
    done = machine.run("supervisor", "setup", "--systemd", "--print")
    assert ("", "Everything is in place.\n") == (done.stdout, done.stderr)


def test_limits_can_be_set_since_the_server_made_room_in_its_group(
    machine: Machine, installed: str
) -> None:
    main = show(machine, "MainPID")
    assert f"/system.slice/{UNIT}.service/server" == group(machine, main)
    top = f"/sys/fs/cgroup/system.slice/{UNIT}.service"
    assert "" == machine.path(f"{top}/cgroup.procs").read_text()


async def test_an_upgrade_ends_no_session(
    machine: Machine, url: str, newer: Path, needs: Needs
) -> None:
    parent = show(machine, "MainPID")
    with machine.network():
        async with open_sessions([(url, "total")]) as [one]:
            run = machine.run("supervisor", "ps").stdout.splitlines()[1].split()
            done = machine.run("dpkg", "--install", machine.put(newer))
            assert "was not replaced" not in done.stderr
            until(lambda: "running" == show(machine, "SubState"))
            await one.answers(12)
            async with open_sessions([(url, "total")]) as [another]:
                await another.answers(3)
            assert run[0] in machine.run("supervisor", "ps").stdout
    assert parent == show(machine, "MainPID")
    assert "9.9.9" in machine.run("supervisor", "--version").stdout
    log = machine.run("journalctl", "--no-pager", f"--unit={UNIT}").stdout
    assert "resumed version=9.9.9 was=" in log
    assert "reloaded problems=0" in log


def test_settings_that_do_not_hold_are_refused_and_the_server_goes_on(
    machine: Machine, url: str
) -> None:
    good = machine.path(CONFIGURATION).read_text()
    machine.path(CONFIGURATION).write_text(good + "[Nonsense\n")
    done = machine.run("systemctl", "reload", UNIT, check=False)
    machine.path(CONFIGURATION).write_text(good)
    assert 0 != done.returncode
    assert "active" == show(machine, "ActiveState")
    assert "shiny-python-core" in machine.run("supervisor", "list").stdout


def test_a_server_that_is_killed_is_started_again(machine: Machine, url: str) -> None:
    parent = show(machine, "MainPID")
    machine.run("kill", "-KILL", parent)
    until(lambda: show(machine, "MainPID") not in (parent, "0"))
    until(lambda: "active" == show(machine, "ActiveState"))
    assert "1" == show(machine, "NRestarts")
    assert "shiny-python-core" in machine.run("supervisor", "list").stdout


def test_removed_and_purged_it_leaves_the_data_and_says_where(machine: Machine, url: str) -> None:
    machine.run("dpkg", "--remove", UNIT)
    assert "" == machine.run("pgrep", "--full", "supervisor", check=False).stdout
    assert machine.path(CONFIGURATION).exists()
    assert not machine.path("/run/content-supervisor").exists()
    done = machine.run("dpkg", "--purge", UNIT)
    assert DATA in done.stdout
    assert not machine.path("/etc/content-supervisor").exists()
    assert not machine.path("/usr/lib/content-supervisor").exists()
    assert any(machine.path(f"{DATA}/bundles").rglob("*"))
    assert "degraded" != machine.run("systemctl", "is-system-running", check=False).stdout.strip()


def test_installed_again_it_goes_on_from_the_data(machine: Machine, url: str, newer: Path) -> None:
    machine.run("dpkg", "--install", f"/root/{newer.name}")
    until(lambda: "active" == show(machine, "ActiveState"))
    assert "shiny-python-core" in machine.run("supervisor", "list").stdout
