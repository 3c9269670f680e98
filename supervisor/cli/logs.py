"""`supervisor logs`."""

from __future__ import annotations

import json

import click

from supervisor.cli.options import Session, complete_content, server_command
from supervisor.cli.show import is_terminal, printable, short_run
from supervisor.errors import CODES, SupervisorError


@click.command("logs")
@click.argument("ref", metavar="RUN|CONTENT", shell_complete=complete_content)
@click.option("--follow", "-f", is_flag=True, help="Go on with the lines still to come.")
@click.option(
    "--tail",
    "-n",
    type=click.IntRange(0),
    default=100,
    metavar="N",
    help="How many of the last lines (default: 100).",
)
@server_command
def logs_command(session: Session, ref: str, follow: bool, tail: int) -> None:
    """Show what a run or a content wrote last."""
    from supervisor.cli.client import segment

    path = f"/v1/supervisor/logs/{segment(ref)}"
    with session.connect() as client:
        for text in client.lines(path, follow=int(follow), tail=tail):
            line = json.loads(text)
            if "error" in line:  # the stream broke off after it had begun
                code = line["code"] if line["code"] in CODES else "internal"
                raise SupervisorError(code, line["error"], hint=line["hint"])
            if session.as_json:
                click.echo(text)
            else:
                _show(line, prefix=not line["run"].startswith(ref))


def _show(line: dict[str, str], *, prefix: bool) -> None:
    text = printable(line["text"]) if is_terminal() else line["text"]
    if prefix:
        text = f"{click.style(short_run(line['run']) + ' |', dim=True)} {text}"
    click.echo(text)
