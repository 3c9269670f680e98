"""Which files stay at home."""

from __future__ import annotations

from pathlib import Path

import pytest

from supervisor.cli.ignore import Ignore, read_ignore
from supervisor.errors import SupervisorError


@pytest.mark.parametrize(
    ("patterns", "path", "directory", "expected"),
    [
        (["*.log"], "a.log", False, True),
        (["*.log"], "sub/a.log", False, True),
        (["/a.log"], "sub/a.log", False, False),
        (["data/*.csv"], "data/x.csv", False, True),
        (["data/*.csv"], "other/data/x.csv", False, False),
        (["data/"], "data", True, True),
        (["data/"], "data", False, False),
        (["*.csv", "!keep.csv"], "keep.csv", False, False),
        (["!keep.csv", "*.csv"], "keep.csv", False, True),
        (["A.R"], "a.R", False, False),
    ],
)
def test_the_last_pattern_that_matches_decides(
    patterns: list[str], path: str, directory: bool, expected: bool
) -> None:
    assert expected is Ignore(tuple(patterns)).matches(path, directory=directory)


@pytest.mark.parametrize("name", [".supervisorignore", ".rscignore"])
def test_both_ignore_files_are_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("# a comment\n\n  big.csv  \n")
    ignore = read_ignore(tmp_path)
    assert ignore.matches("big.csv", directory=False)
    assert ignore.matches(name, directory=False)
    assert not ignore.matches("# a comment", directory=False)


@pytest.mark.parametrize(
    "path", [".git", "sub/.git", "__pycache__", "renv/library", ".Rproj.user", "node_modules"]
)
def test_what_tools_leave_behind_is_never_sent(tmp_path: Path, path: str) -> None:
    assert read_ignore(tmp_path).matches(path, directory=True)


def test_an_ignore_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".rscignore").write_bytes(b"\xff\xfe")
    with pytest.raises(SupervisorError, match=r"\.rscignore"):
        read_ignore(tmp_path)
