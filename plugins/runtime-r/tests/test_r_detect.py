"""What the R runtime recognises, and which R it finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from supervisor_r import installations
from supervisor_r.detect import detect
from supervisor_r.runtime import RRuntime

from supervisor import (
    Access,
    ContentKind,
    Detected,
    Installation,
    Purpose,
    Role,
    SourceFile,
    SupervisorError,
    layout,
)
from tests.support.serving import plan_for

SHINY = {"metadata": {"appmode": "shiny"}}
ANY_R = Installation(runtime="r", version="4.2.2", executable="/opt/R/4.2.2/lib/R/bin/R")


def bundle(*paths: str) -> list[SourceFile]:
    return [SourceFile(path=path, size=1) for path in paths]


def found(entrypoint: str, score: int) -> Detected:
    return Detected(
        runtime="r",
        kind=ContentKind.APP,
        app_mode="shiny",
        entrypoint=entrypoint,
        score=score,
    )


@pytest.mark.parametrize(
    ("paths", "entrypoint"),
    [
        (["app.R"], "app.R"),
        (["app.r"], "app.r"),
        (["App.R", "data.csv"], "App.R"),
        (["server.R", "ui.R", "global.R"], "server.R"),
        (["server.r", "ui.r"], "server.r"),
        (["server.R", "www/index.html"], "server.R"),
    ],
)
def test_a_shiny_app_is_recognised_by_its_files(paths: list[str], entrypoint: str) -> None:
    assert found(entrypoint, 50) == detect(bundle(*paths), {})


@pytest.mark.parametrize(
    "paths", [[], ["server.R"], ["ui.R"], ["sub/app.R"], ["index.Rmd"], ["app.py"]]
)
def test_anything_else_is_not(paths: list[str]) -> None:
    assert detect(bundle(*paths), {}) is None


def test_a_manifest_wins_over_the_files() -> None:
    assert found("app.R", 100) == detect(bundle("app.R"), SHINY)
    assert found("server.R", 100) == detect(bundle("server.R"), SHINY)
    assert detect(bundle("app.R"), {"metadata": {"appmode": "python-shiny"}}) is None


@pytest.mark.parametrize("manifest", [{"metadata": None}, {"metadata": []}, {"metadata": {}}])
def test_a_manifest_that_says_nothing_decides_nothing(manifest: dict[str, Any]) -> None:
    assert found("app.R", 50) == detect(bundle("app.R"), manifest)


def test_the_plan_serves_and_does_nothing_else() -> None:
    plan = plan_for(RRuntime(), ANY_R, purpose=Purpose.SERVE)
    assert (ANY_R.executable, layout.at(Role.SOURCE)) == (plan.argv[0], plan.workdir)
    assert layout.LISTEN_AT == plan.env["SUPERVISOR_LISTEN"]
    assert {Role.SOURCE, Role.SCRATCH, Role.HOME, Role.STATE, Role.SOCKET} == {
        mount.role for mount in plan.mounts if mount.access is Access.WRITE
    }
    with pytest.raises(SupervisorError, match="cannot render 'tested'") as caught:
        plan_for(RRuntime(), ANY_R, purpose=Purpose.RENDER)
    assert "no-runtime" == caught.value.code


def fake_r(path: Path, version: str, *, home: str = "", shiny: str = "1.7.4") -> str:
    """Write a program that answers as R would."""
    path.parent.mkdir(parents=True)
    answer = f"version\\t{version}\\nhome\\t{home or path.parent.parent}\\nshiny\\t{shiny}\\n"
    path.write_text(f"#!/bin/sh\nprintf '{answer}prefix\\t{path.parent.parent}\\n'\n")
    path.chmod(0o755)
    return str(path)


def test_usual_places_are_searched_and_the_newest_comes_first(tmp_path: Path) -> None:
    for place, version in {
        "usr/lib/R": "4.2.2",
        "opt/R/3.6.3": "3.6.3",
        "opt/R/4.10.0": "4.10.0",
        "opt/local/R/4.9.1": "4.9.1",
    }.items():
        fake_r(tmp_path / place / "bin/R", version)
    answer = installations.find([], root=str(tmp_path))
    assert ["4.10.0", "4.9.1", "4.2.2", "3.6.3"] == [one.version for one in answer]


def test_an_r_without_shiny_comes_last(tmp_path: Path) -> None:
    fake_r(tmp_path / "opt/R/4.5.0/bin/R", "4.5.0", shiny="")
    fake_r(tmp_path / "opt/R/4.2.2/bin/R", "4.2.2")
    answer = installations.find([], root=str(tmp_path))
    assert ["4.2.2", "4.5.0"] == [one.version for one in answer]


def test_one_r_under_two_names_counts_once(tmp_path: Path) -> None:
    real = fake_r(tmp_path / "usr/lib/R/bin/R", "4.2.2")
    os.symlink(real, tmp_path / "R")
    answer = installations.find([str(tmp_path / "R")], root=str(tmp_path))
    assert [real] == [one.executable for one in answer]


def test_a_broken_r_is_skipped_and_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake_r(tmp_path / "usr/lib/R/bin/R", "4.2.2")
    broken = tmp_path / "opt/R/broken/bin/R"
    fake_r(broken, "0")
    broken.write_text("#!/bin/sh\necho no libR.so >&2\nexit 127\n")
    answer = installations.find([], root=str(tmp_path))
    assert ["4.2.2"] == [one.version for one in answer]
    assert str(broken) in caplog.text


@pytest.mark.parametrize(
    ("home", "shown"),
    [
        ("/usr/lib/R", "/usr/lib/R"),
        ("/usr/local/lib/R", "/usr/local/lib/R"),
        ("/opt/R/4.3.1/lib/R", "/opt/R/4.3.1"),
    ],
)
def test_a_sandbox_sees_the_whole_of_an_r_and_no_more(
    tmp_path: Path, home: str, shown: str
) -> None:
    executable = fake_r(tmp_path / "bin/R", "4.3.1", home=home)
    installation = installations.probe(executable)
    assert installation is not None
    assert shown == installation.prefixes[0]


@pytest.mark.system
def test_the_r_of_this_machine_tells_its_version_and_its_shiny(needs: Any) -> None:
    needs.r("shiny")
    installation = RRuntime().installations({})[0]
    assert os.access(installation.executable, os.X_OK)
    assert "" != installation.detail["shiny"]
    assert installation.detail["home"] in installation.prefixes
