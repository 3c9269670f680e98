"""`supervisor migrate-store`."""

from __future__ import annotations

import os
import sys

import click

from supervisor.cli.serve import CONFIG


@click.command("migrate-store")
@click.argument("to", metavar="PROVIDER")
@CONFIG
@click.option("--data-dir", metavar="DIR", type=click.Path(file_okay=False), help="Server.DataDir.")
@click.option(
    "--from", "source", metavar="PROVIDER", help="Where the records are (Database.Provider)."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")
def migrate_store_command(
    to: str, config: str | None, data_dir: str | None, source: str | None, as_json: bool
) -> None:
    """Copy all records into another, empty store.

    PROVIDER is what Database.Provider would be; its own section must be in the settings. The server
    must not run. All is copied, or nothing; what was copied from stays as it is.
    """
    arguments = [sys.executable, "-I", "-m", "supervisor.parent.migrate"]
    environment = dict(os.environ)
    if config is not None:
        arguments += ["--config", os.path.abspath(config)]
    if data_dir is not None:
        environment["SUPERVISOR_SERVER_DATADIR"] = os.path.abspath(data_dir)
    if source is not None:
        arguments += ["--from", source]
    if as_json:
        arguments.append("--json")
    sys.stdout.flush()
    os.execve(sys.executable, [*arguments, "--", to], environment)
