"""The small decisions of deploy: names, and errors of tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.cli.deploy import content_name, task_error
from supervisor.errors import SupervisorError


@pytest.mark.parametrize(
    ("folder", "expected"),
    [("hello", "hello"), ("My app (2)", "My-app-2"), ("x" * 99, "x" * 64), ("a_b-c", "a_b-c")],
)
def test_the_name_is_made_of_the_folders(tmp_path: Path, folder: str, expected: str) -> None:
    (tmp_path / folder).mkdir()
    assert expected == content_name(tmp_path / folder)


def test_a_dot_means_the_folder_that_we_are_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert content_name(tmp_path) == content_name(Path("."))


@pytest.mark.parametrize("folder", ["ab", "日本", "/"])
def test_a_folder_that_makes_no_name_asks_for_one(tmp_path: Path, folder: str) -> None:
    with pytest.raises(SupervisorError) as caught:
        content_name(tmp_path / folder)
    assert "--name" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "code", "message", "hint"),
    [
        ("No app here. (Error code: no-app-found)", "no-app-found", "No app here.", ""),
        ("It failed. [start-failed]\n  look", "start-failed", "It failed.", "look"),
        ("two\nlines (Error code: gave-up)", "gave-up", "two\nlines", ""),
        ("odd (Error code: made-up)", "internal", "odd (Error code: made-up)", ""),
        ("", "internal", "The deployment failed without a reason.", ""),
    ],
)
def test_the_error_of_a_task_is_read_back(text: str, code: str, message: str, hint: str) -> None:
    error = task_error(text)
    assert (code, message, hint) == (error.code, error.message, error.hint)
