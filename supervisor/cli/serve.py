"""`supervisor setup` and `supervisor serve`."""

from __future__ import annotations

import os
import sys

import click


@click.command("setup")
@click.option("--print", "only_print", is_flag=True, help="Only print the commands.")
def setup_command(only_print: bool) -> int:
    """Make the users, groups and directories that a server with root needs. Safe to repeat."""
    from supervisor.parent.setup import run_setup

    return int(run_setup(only_print=only_print))


@click.command("serve")
@click.option("--config", metavar="FILE", type=click.Path(dir_okay=False), help="Configuration.")
@click.option("--data-dir", metavar="DIR", type=click.Path(file_okay=False), help="Server.DataDir.")
def serve_command(config: str | None, data_dir: str | None) -> None:
    """Run the server in the foreground until Ctrl-C or SIGTERM."""
    arguments, environment = [sys.executable, "-I", "-m", "supervisor.parent"], dict(os.environ)
    if config is not None:
        arguments += ["--config", os.path.abspath(config)]
    if data_dir is not None:
        environment["SUPERVISOR_SERVER_DATADIR"] = os.path.abspath(data_dir)
    sys.stdout.flush()
    os.execve(sys.executable, arguments, environment)
