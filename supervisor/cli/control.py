"""`supervisor stop`, `restart`, `kill`."""

from __future__ import annotations

import click

from supervisor.cli.options import Session, complete_content, server_command
from supervisor.cli.show import printable


@click.command("stop")
@click.argument("ref", metavar="CONTENT|RUN", shell_complete=complete_content)
@server_command
def stop_command(session: Session, ref: str) -> None:
    """Stop a run, or a content with all its runs.

    A content stays stopped until `supervisor restart`.
    """
    _ask_server(session, "content", ref, "stop", "Stopped")


@click.command("restart")
@click.argument("ref", metavar="CONTENT", shell_complete=complete_content)
@server_command
def restart_command(session: Session, ref: str) -> None:
    """Start CONTENT anew, former failures forgotten."""
    _ask_server(session, "content", ref, "restart", "Restarted")


@click.command("kill")
@click.argument("ref", metavar="RUN")
@server_command
def kill_command(session: Session, ref: str) -> None:
    """End RUN's whole process tree at once."""
    _ask_server(session, "runs", ref, "kill", "Killed")


def _ask_server(session: Session, kind: str, ref: str, verb: str, done: str) -> None:
    from supervisor.cli.client import segment

    with session.connect() as client:
        client.post(f"/v1/supervisor/{kind}/{segment(ref)}/{verb}")
    if session.as_json:
        session.json({"ref": ref, "done": verb})
    else:
        session.note(f"{done} {printable(ref)}.")
