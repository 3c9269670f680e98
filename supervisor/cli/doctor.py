"""`supervisor doctor`."""

from __future__ import annotations

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.show import printable


@click.command("doctor")
@server_command
def doctor_command(session: Session) -> int:
    """Show what is right and wrong with the host.

    The exit status is 1 where the server cannot work.
    """
    with session.connect() as client:
        findings = client.get("/v1/supervisor/doctor")
    if session.as_json:
        session.json(findings)
    for finding in findings if not session.as_json else []:
        mark, colour = ("ok  ", "green") if finding["ok"] else ("note", "yellow")
        if finding["fatal"] and not finding["ok"]:
            mark, colour = "FAIL", "red"
        text = printable(f"{finding['name']}: {finding['text']}")
        click.echo(f"{click.style(mark, fg=colour)}  {text}")
        if finding["fix"]:
            click.echo(f"      fix: {printable(finding['fix'])}")
    return int(any(finding["fatal"] and not finding["ok"] for finding in findings))
