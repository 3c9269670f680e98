"""CI is strict: what is skipped here fails there, and the table of suites counts right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

def test_needs_a_program(needs):
    needs.program("no-such-program")

def test_needs_a_kernel(needs):
    needs.kernel(False, "landlock")

@pytest.mark.skip(reason="lazy")
def test_lazy():
    pass

def test_plain():
    pass
"""


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_bytes((ROOT / "conftest.py").read_bytes())
    (tmp_path / "tests" / "unit").mkdir(parents=True)
    (tmp_path / "tests" / "unit" / "test_some.py").write_text(TESTS)
    return tmp_path


def run(suite: Path, *, ci: bool) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--junitxml=junit.xml"],
        cwd=suite,
        env=environment | ({"CI": "true"} if ci else {}),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_locally_what_the_machine_lacks_is_skipped_by_name(suite: Path) -> None:
    done = run(suite, ci=False)
    assert 0 == done.returncode
    assert "1 passed, 3 skipped" in done.stdout
    assert "./dev system" in done.stdout


def test_in_ci_only_what_no_package_can_give_may_be_skipped(suite: Path) -> None:
    done = run(suite, ci=True)
    assert 1 == done.returncode
    assert "1 failed, 1 passed, 1 skipped, 1 error" in done.stdout
    assert "not allowed in CI: needs the program no-such-program" in done.stdout


def test_the_table_counts_what_ran_was_skipped_and_failed(suite: Path) -> None:
    run(suite, ci=True)
    table = subprocess.run(
        [sys.executable, ROOT / ".ci" / "table.py", suite / "junit.xml"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    rows = [line.split() for line in table.stdout.splitlines()]
    assert ["suite", "ran", "skipped", "failed"] == rows[0]
    assert ["all", "3", "1", "2"] == rows[-1]
