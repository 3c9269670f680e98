"""Podman without root: what outlives its core there, too, and what is not claimed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
SOMEBODY = 23_000 + os.getpid() % 1000
TESTS = ("test_core_killed.py", "test_contract_podman.py")
CHOSEN = "killed or usage or fork_bomb"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_an_ordinary_user_s_podman_keeps_the_promises_that_it_can(storage: Any) -> None:
    home = Path("/tmp", f"cs-somebody-{SOMEBODY}")
    home.mkdir()
    os.chown(home, SOMEBODY, SOMEBODY)
    be = ("setpriv", f"--reuid={SOMEBODY}", f"--regid={SOMEBODY}", "--clear-groups")
    pytest_ = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", CHOSEN)
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            [*be, *pytest_, *(f"{HERE}/{test}" for test in TESTS)],
            cwd=home,
            env=env,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert 0 == done.returncode, done.stdout + done.stderr
        assert "not claimed: usage" in done.stdout
        assert "not claimed: the limit pids" in done.stdout
    finally:
        shutil.rmtree(home)
