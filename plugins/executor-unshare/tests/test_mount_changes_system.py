"""What is mounted is noticed once, unless it lies where the server mounts things itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

LOOK = """
import os, subprocess, sys
from supervisor_unshare.linux.mount_changes import MountChanges

def run(*command):
    subprocess.run(command, check=True)

run("mount", "--make-rprivate", "/")
ours, others = sys.argv[1:]
changes = MountChanges(but=ours)
assert [True, False] == [changes.happened(), changes.happened()]
run("mount", "-t", "tmpfs", "none", ours + "/run")
assert not changes.happened(), "our own mount"
run("umount", ours + "/run")
assert not changes.happened(), "our own, gone"
run("mount", "-t", "tmpfs", "none", others)
run("mount", "-t", "tmpfs", "none", ours + "/run")
assert [True, False] == [changes.happened(), changes.happened()], "another among ours"
run("umount", others)
assert [True, False] == [changes.happened(), changes.happened()], "another, gone"

run("mount", "-t", "tmpfs", "none", others)
read, os.read = os.read, None  # as where the list cannot be read
try:
    changes.happened()
except TypeError:
    os.read = read
assert [True, False] == [changes.happened(), changes.happened()], "after a failure"
"""


def test_a_mount_is_a_change_unless_it_is_our_own(tmp_path: Path, needs: Any) -> None:
    needs.root()
    ours, others = tmp_path / "with a blank", tmp_path / "with a blank, too"
    (ours / "run").mkdir(parents=True)
    others.mkdir()
    command = ["unshare", "--mount", sys.executable, "-c", LOOK, str(ours), str(others)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert (0, "") == (done.returncode, done.stderr)
