"""What the Python runtime recognises, and which Pythons it finds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from supervisor_python import installations
from supervisor_python.detect import detect
from supervisor_python.runtime import PythonRuntime

from supervisor import (
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

ANY_PYTHON = Installation(runtime="python", version="3.12.1", executable="/opt/python/3/bin/python")


def found(entrypoint: str, score: int) -> Detected:
    return Detected(
        runtime="python",
        kind=ContentKind.APP,
        app_mode="python-shiny",
        entrypoint=entrypoint,
        score=score,
    )


def app(text: str, path: str = "app.py") -> list[SourceFile]:
    return [SourceFile(path=path, size=len(text), text=text)]


@pytest.mark.parametrize(
    "source",
    [
        "from shiny import App\n",
        "import shiny\n",
        "from shiny.express import ui\n",
        '"""Words."""\nimport os\nimport shiny.express\n',
    ],
)
def test_an_app_py_that_imports_shiny_is_recognised(source: str) -> None:
    assert found("app", 50) == detect(app(source), {})


@pytest.mark.parametrize(
    "files",
    [
        [],
        app("from flask import Flask\n"),
        app("import shinyswatch\n"),
        app("# import shiny\n"),
        app("import shiny\n", "main.py"),
        app("import shiny\n", "sub/app.py"),
        [SourceFile(path="app.py", size=1)],
    ],
)
def test_anything_else_is_not(files: list[SourceFile]) -> None:
    assert detect(files, {}) is None


@pytest.mark.parametrize("entrypoint", ["app", "app:app", "shiny.express.app:app_2e_py"])
def test_a_manifest_wins_and_its_entrypoint_is_kept(entrypoint: str) -> None:
    metadata = {"appmode": "python-shiny", "entrypoint": entrypoint}
    assert found(entrypoint, 100) == detect([], {"metadata": metadata})


def test_a_manifest_of_another_mode_is_believed() -> None:
    manifest = {"metadata": {"appmode": "python-fastapi"}}
    assert detect(app("import shiny\n"), manifest) is None


def test_a_manifest_without_an_entrypoint_means_app() -> None:
    assert found("app", 100) == detect([], {"metadata": {"appmode": "python-shiny"}})


def test_the_plan_serves_the_entrypoint_and_does_nothing_else() -> None:
    plan = plan_for(PythonRuntime(), ANY_PYTHON, entrypoint="m:site", purpose=Purpose.SERVE)
    assert (ANY_PYTHON.executable, "m:site") == (plan.argv[0], plan.argv[-1])
    assert layout.at(Role.SOURCE) == plan.workdir
    assert layout.LISTEN_AT == plan.env["SUPERVISOR_LISTEN"]
    with pytest.raises(SupervisorError, match="cannot render 'tested'") as caught:
        plan_for(PythonRuntime(), ANY_PYTHON, purpose=Purpose.RENDER)
    assert "no-runtime" == caught.value.code


def fake_python(path: Path, version: str, *, shiny: str = "", prefix: str = "") -> str:
    """Write a program that answers as Python would."""
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {
        "version": version,
        "executable": str(path),
        "prefixes": [prefix or str(path.parent.parent)],
        "shiny": shiny,
    }
    path.write_text(f"#!/bin/sh\necho '{json.dumps(facts)}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.mark.usefixtures("no_path")
def test_those_with_shiny_come_first_then_the_newest(tmp_path: Path) -> None:
    for place, version, shiny in [
        ("opt/python/3.9.18", "3.9.18", "0.6.0"),
        ("opt/python/3.13.0", "3.13.0", ""),
        ("opt/python/3.12.1", "3.12.1", "1.8.0"),
        ("usr", "3.11.2", ""),
    ]:
        fake_python(tmp_path / place / "bin/python3", version, shiny=shiny)
    answer = installations.find([], root=str(tmp_path))
    assert ["3.12.1", "3.9.18", "3.13.0", "3.11.2"] == [one.version for one in answer]


@pytest.mark.usefixtures("no_path")
def test_a_configured_one_comes_before_its_equals(tmp_path: Path) -> None:
    fake_python(tmp_path / "usr/bin/python3", "3.11.2", shiny="1.8.0")
    mine = fake_python(tmp_path / "venv/bin/python", "3.11.2", shiny="1.8.0")
    answer = installations.find([mine], root=str(tmp_path))
    assert [mine, str(tmp_path / "usr/bin/python3")] == [one.executable for one in answer]


@pytest.mark.usefixtures("no_path")
def test_one_python_under_two_names_counts_once(tmp_path: Path) -> None:
    real = fake_python(tmp_path / "usr/bin/python3", "3.11.2")
    (tmp_path / "python").symlink_to(real)
    assert 1 == len(installations.find([str(tmp_path / "python")], root=str(tmp_path)))


@pytest.mark.usefixtures("no_path")
@pytest.mark.parametrize("answer", ["exit 1", "echo nonsense", "echo '{}'", "echo '[]'"])
def test_a_broken_python_is_skipped_and_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, answer: str
) -> None:
    broken = Path(fake_python(tmp_path / "usr/bin/python3", "3"))
    broken.write_text(f"#!/bin/sh\n{answer}\n")
    assert [] == installations.find([], root=str(tmp_path))
    assert str(broken) in caplog.text


@pytest.mark.system
def test_a_virtual_environment_shows_itself_and_what_it_was_made_from(needs: Any) -> None:
    python = needs.python("shiny")
    installation = installations.probe(python)
    assert installation is not None
    assert python == installation.executable
    assert "" != installation.detail["shiny"]
    assert {str(Path(python).parents[1]), "/usr"} <= {*installation.prefixes, "/usr"}
    assert 2 <= len(installation.prefixes)


def streamlit_app(entrypoint: str, score: int) -> Detected:
    return Detected(
        runtime="python",
        kind=ContentKind.APP,
        app_mode="python-streamlit",
        entrypoint=entrypoint,
        score=score,
    )


def test_an_app_py_that_imports_streamlit_is_recognised() -> None:
    assert streamlit_app("app.py", 50) == detect(app("import streamlit as st\n"), {})
    manifest = {"metadata": {"appmode": "python-streamlit", "entrypoint": "main.py"}}
    assert streamlit_app("main.py", 100) == detect([], manifest)


def test_streamlit_is_served_on_a_port() -> None:
    plan = plan_for(
        PythonRuntime(), ANY_PYTHON, entrypoint="main.py", purpose=Purpose.SERVE,
        app_mode="python-streamlit",
    )  # fmt: skip
    assert (ANY_PYTHON.executable, "-u", "-m", "streamlit", "run", "main.py") == plan.argv
    assert str(plan.port) == plan.env["STREAMLIT_SERVER_PORT"]
    assert "SUPERVISOR_LISTEN" not in plan.env
