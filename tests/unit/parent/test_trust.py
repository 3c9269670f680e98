from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent import trust
from supervisor.parent.identity import Identity

ME = os.geteuid()


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def helper(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A helper as a wheel installs it; its top package says aloud when it is imported."""
    package = place / "vile_helper"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(place / 'imported')!r}, 'w')\n")
    (package / "program.py").write_text("raise SystemExit(0)\n")
    info = place / "vile_helper-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: vile-helper\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[content_supervisor.helpers]\nvile = vile_helper.program\n"
    )
    monkeypatch.syspath_prepend(str(place))
    return package


def refused(*paths: Path) -> str:
    with pytest.raises(SupervisorError) as caught:
        trust.refuse_writable(map(str, paths), owner=ME)
    assert "not-root-owned" == caught.value.code
    return caught.value.message


def test_a_helper_is_found_without_importing_its_package(helper: Path) -> None:
    found = trust.find_helper("vile")

    assert found is not None
    assert "vile_helper.program" == found.module
    assert str(helper) == found.package
    assert not (helper.parent / "imported").exists()
    assert "vile_helper" not in sys.modules


def test_a_helper_that_is_not_installed_is_refused_with_those_that_are(helper: Path) -> None:
    with pytest.raises(SupervisorError, match=r"Privileged.Helper = other: .*installed: .*vile"):
        trust.find_helper("other")


def test_several_helpers_are_refused_until_one_is_named(helper: Path) -> None:
    entry_points = helper.parent / "vile_helper-1.dist-info" / "entry_points.txt"
    entry_points.write_text(entry_points.read_text() + "second = vile_helper.second\n")

    with pytest.raises(SupervisorError, match="several helpers are installed"):
        trust.find_helper("")


def test_none_is_no_helper(helper: Path) -> None:
    assert trust.find_helper("none") is None


def test_what_only_the_owner_can_write_is_trusted(helper: Path) -> None:
    trust.refuse_writable(trust.tree(str(helper)), owner=ME)


def test_a_file_that_everybody_can_write_is_named(helper: Path) -> None:
    (helper / "program.py").chmod(0o666)

    message = refused(*map(Path, trust.tree(str(helper))))
    assert f"{helper / 'program.py'} can be written by everybody" in message


def test_a_directory_above_that_others_can_write_is_named(helper: Path) -> None:
    helper.parent.chmod(0o777)

    assert f"{helper.parent} can be written by everybody" in refused(helper / "program.py")


def test_a_link_is_followed_to_what_it_names(place: Path) -> None:
    (place / "inner").mkdir()
    (place / "inner" / "real").write_text("")
    (place / "link").symlink_to("inner/real")
    trust.refuse_writable([str(place / "link")], owner=ME)
    (place / "inner").chmod(0o777)

    assert f"{place / 'inner'} can be written by everybody" in refused(place / "link")


def test_links_in_a_circle_end(place: Path) -> None:
    (place / "a").symlink_to("b")
    (place / "b").symlink_to("a")

    trust.refuse_writable([str(place / "a")], owner=ME)


@pytest.mark.skipif(ME != 0, reason="needs root")
def test_a_file_of_somebody_else_is_named(place: Path) -> None:
    (place / "file").write_text("")
    os.chown(place / "file", 61001, 61001)

    assert "belongs to uid 61001" in refused(place / "file")


@pytest.mark.skipif(ME != 0, reason="needs root")
def test_a_group_that_can_write_is_named_unless_it_is_roots(place: Path) -> None:
    (place / "file").write_text("")
    (place / "file").chmod(0o664)
    trust.refuse_writable([str(place / "file")])
    os.chown(place / "file", 0, 50)

    assert "can be written by the group 50" in refused(place / "file")


@pytest.mark.skipif(ME != 0, reason="needs root")
def test_serve_as_root_refuses_a_helper_that_others_can_write(helper: Path) -> None:
    (helper / "program.py").chmod(0o666)
    settings = helper.parent / "supervisor.gcfg"
    settings.write_text(
        "[Privileged]\nHelper = vile\nCoreUser = 61001\nGatewayUser = 61002\nInstallUser = 61003\n"
        f"[Server]\nDataDir = {helper.parent}/data\nRunDir = {helper.parent}/run\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(helper.parent)!r})\n"
        f"sys.argv = ['serve', '--config', {str(settings)!r}]\n"
        "from supervisor.parent.__main__ import main\n"
        "raise SystemExit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=20
    )

    assert 77 == done.returncode, done.stderr
    assert str(helper / "program.py") in done.stderr
    assert not (helper.parent / "imported").exists()
    assert not (helper.parent / "data").exists()


def test_a_program_behind_a_closed_directory_is_refused(place: Path) -> None:
    (place / "closed").mkdir()
    program = place / "closed" / "program"
    program.write_text("")
    program.chmod(0o644)
    core = Identity(name="core", uid=61001, gid=61001, groups=(61002,))

    def check() -> None:
        trust.refuse_unreachable([str(program)], core, code="identity-invalid", hint="Move it.")

    check()
    (place / "closed").chmod(0o700)
    with pytest.raises(SupervisorError, match=f"core cannot enter {place}/closed"):
        check()
    (place / "closed").chmod(0o755)
    program.chmod(0o600)

    with pytest.raises(SupervisorError, match=f"core cannot read {program}"):
        check()
