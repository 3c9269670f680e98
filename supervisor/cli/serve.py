"""`supervisor setup` and `supervisor serve`."""

from __future__ import annotations

import json
import os
import sys

import click

CONFIG = click.option(
    "--config", metavar="FILE", type=click.Path(dir_okay=False), help="The configuration file."
)


@click.command("setup")
@click.option("--print", "print_only", is_flag=True, help="Only print what would be done.")
@click.option("--systemd", is_flag=True, help="Also write the unit and let it start at boot.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")
@CONFIG
def setup_command(print_only: bool, systemd: bool, as_json: bool, config: str | None) -> None:
    """Prepare this host: users, groups, directories, the configuration file.

    Needed once for a server with root; safe to repeat.
    """
    from supervisor.parent.setup import run_setup
    from supervisor.settings import load

    commands = run_setup(load(config), print_only, systemd=systemd)
    if as_json:
        click.echo(json.dumps({"commands": commands, "done": not print_only}))
        return
    for command in commands:
        click.echo(command)
    if not commands:
        click.echo("Everything is in place.", err=True)
    if systemd and not print_only:
        click.echo("Start it with: systemctl start content-supervisor", err=True)


@click.command("serve")
@CONFIG
@click.option("--data-dir", metavar="DIR", type=click.Path(file_okay=False), help="Server.DataDir.")
def serve_command(config: str | None, data_dir: str | None) -> None:
    """Run the server until Ctrl-C or SIGTERM."""
    arguments, environment = [sys.executable, "-I", "-m", "supervisor.parent"], dict(os.environ)
    if config is not None:
        arguments += ["--config", os.path.abspath(config)]
    if data_dir is not None:
        environment["SUPERVISOR_SERVER_DATADIR"] = os.path.abspath(data_dir)
    sys.stdout.flush()
    os.execve(sys.executable, arguments, environment)
