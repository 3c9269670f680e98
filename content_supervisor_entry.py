"""The console script: say plainly when another package took our name, then hand over to the CLI."""

from __future__ import annotations

import sys
from importlib import metadata

CLASH = """\
supervisor: this Python environment also holds the package 'supervisor' (supervisord) {version}.
Both install files into one folder named 'supervisor', so neither can be trusted to work here.
Give each an environment of its own, for example:
    python3 -m venv /opt/content-supervisor/venv
    /opt/content-supervisor/venv/bin/pip install 'content-supervisor[all]'
(supervisord itself runs well from its Debian package or from pipx.)"""


def main() -> int:
    """Run the `supervisor` command; exit status 1 and one explanation where supervisord is here."""
    try:
        clash = metadata.distribution("supervisor")
    except metadata.PackageNotFoundError:
        pass
    else:
        print(CLASH.format(version=clash.version), file=sys.stderr)  # noqa: T201
        return 1
    from supervisor.cli import main as cli_main

    return cli_main()
