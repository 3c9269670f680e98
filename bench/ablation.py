"""Run the probes inside sandboxes that lack a layer each, and write what is then allowed.

The table of docs/explanation/sandbox.md is written; the tests hold it against what they measure.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = "plugins/executor-unshare/tests/test_probes_system.py"


def main() -> int:
    """Measure and write; gives the status of the tests."""
    command = [sys.executable, "-m", "pytest", "-q", "-k", "layer_by_layer", TESTS]
    environment = {**os.environ, "ABLATION": "write"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
