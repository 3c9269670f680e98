"""`supervisor path`."""

from __future__ import annotations

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.show import printable


@click.command("path")
@click.argument("path")
@click.option("--content", metavar="CONTENT", help="Whose path it is: guid, name or id.")
@click.option("--run", metavar="RUN", help="Of which run: its id, or the beginning of it.")
@server_command
def path_command(session: Session, path: str, content: str | None, run: str | None) -> None:
    """Tell where a file of a sandbox lies on disk, and the other way round.

    PATH is absolute: /opt/content-supervisor/mnt/app/app.R as content sees it (or below
    /opt/rstudio-connect), a file below DataDir, or one that a section [Mount] shows. What --content
    and --run do not tell stands in braces.
    """
    query = {"path": path, "content": content, "run": run}
    with session.connect() as client:
        given = {name: value for name, value in query.items() if value is not None}
        ways = client.get("/v1/supervisor/path", **given)
    if session.as_json:
        session.json(ways)
        return
    for way in ways:
        click.echo(printable(way["physical"] or "-"))
        click.echo(f"    => {printable(way['sandbox'] or 'not in any sandbox')}")
        click.echo(f"    {printable(way['about'])}")
