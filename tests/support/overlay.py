"""A virtual environment on top of ours with plugins of a test's own installed in it."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path


def overlay(folder: Path, plugins: Mapping[str, str]) -> Path:
    """Make the environment and give its python. plugins: module name → source with the hooks."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    site = next(folder.glob("lib/python*/site-packages"))
    ours = sysconfig.get_path("purelib")
    (site / "_ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    for name, source in plugins.items():
        (site / f"{name}.py").write_text(source)
        info = site / f"{name}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[content_supervisor.v1]\n{name} = {name}\n")
        (info / "RECORD").write_text(f"{name}.py,,\n")
    return folder / "bin" / "python"
