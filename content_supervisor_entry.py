"""The console script: say plainly what another package did to ours, else hand over to the CLI."""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

CLASH = """\
supervisor: this Python environment also holds the package 'supervisor' (supervisord) {version}.
Both have their files in a folder named 'supervisor', so neither can be trusted to work here.
Give each an environment of its own, for example:
    python3 -m venv /opt/content-supervisor/venv
    /opt/content-supervisor/venv/bin/pip install 'content-supervisor[all]'
(supervisord itself runs well from its Debian package or from pipx.)"""

DAMAGED = """\
supervisor: files of content-supervisor are missing or not ours here: {problem}.
That happens where supervisord was installed beside it, or removed. Install it anew:
    {python} -m pip install --force-reinstall --no-deps content-supervisor"""


def main() -> int:
    """Run the `supervisor` command; exit status 1 and one explanation where it cannot work."""
    if version := _clash():
        return _refuse(CLASH.format(version=version))
    try:
        from supervisor import __version__  # noqa: F401  the file that both have
        from supervisor.cli import main as cli_main
    except ImportError as error:
        if (error.name or "").split(".")[0] != "supervisor":
            raise
        return _refuse(DAMAGED.format(problem=error, python=sys.executable))
    return cli_main()


def _clash() -> str:
    """Give the version of a supervisord whose folder is the one that we would import, or ""."""
    # Not importlib.metadata: that alone would take longer than the rest of `supervisor --help`.
    found = PathFinder.find_spec("supervisor")
    folders = found.submodule_search_locations if found is not None else None
    for folder in folders or ():
        for name in os.listdir(os.path.dirname(os.path.realpath(folder))):
            project, _, rest = name.partition("-")
            if project == "supervisor" and rest.endswith((".dist-info", ".egg-info")):
                return rest.rpartition(".")[0]
    return ""


def _refuse(text: str) -> int:
    sys.stderr.write(f"{text}\n")
    return 1
