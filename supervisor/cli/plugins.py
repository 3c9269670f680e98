"""`supervisor plugins`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.serve import CONFIG
from supervisor.cli.show import table
from supervisor.errors import SupervisorError


@click.command("plugins")
@CONFIG
@server_command
def plugins_command(session: Session, config: str | None) -> None:
    """List the installed plugins, also those that failed or are disabled.

    Where no server runs they are loaded for the list alone, with the settings of --config.
    """
    try:
        with session.connect() as client:
            plugins = client.get("/v1/supervisor/plugins")
    except SupervisorError as error:
        if error.code != "unavailable":
            raise
        session.note("No server runs; the plugins are loaded for this list alone.")
        plugins = _without_server(config)
    if session.as_json:
        session.json(plugins)
        return
    columns = ("name", "version", "state", "gives", "problem")
    rows = [[", ".join(p[c]) if c == "gives" else p[c] for c in columns] for p in plugins]
    table([column.upper() for column in columns], rows)


def _without_server(config: str | None) -> list[dict[str, Any]]:
    command = [sys.executable, "-I", "-m", "supervisor.parent.inventory"]
    if config is not None:
        command += ["--config", os.path.abspath(config)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)  # it has said why
    plugins: list[dict[str, Any]] = json.loads(done.stdout)
    return plugins
