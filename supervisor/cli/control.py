"""`supervisor stop`, `restart`, `kill`, `reload`, `reopen-logs`."""

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
@click.option(
    "--rolling", is_flag=True, help="Old processes serve until new ones are ready, then drain."
)
@server_command
def restart_command(session: Session, ref: str, rolling: bool) -> None:
    """Start CONTENT anew, former failures forgotten.

    With --rolling no session is ended before its time (DrainTimeout).
    """
    done = "New processes are starting; until one is ready the old ones serve" if rolling else ""
    _ask_server(session, "content", ref, "restart", done or "Restarted", {"rolling": rolling})


@click.command("kill")
@click.argument("ref", metavar="RUN")
@server_command
def kill_command(session: Session, ref: str) -> None:
    """End RUN's whole process tree at once."""
    _ask_server(session, "runs", ref, "kill", "Killed")


@click.command("reload")
@server_command
def reload_command(session: Session) -> None:
    """Let the server replace itself by what is installed now.

    No session ends. Where the new code or the settings do not hold, nothing changes.
    """
    with session.connect() as client:
        client.post("/v1/supervisor/reload")
    if session.as_json:
        session.json({"done": "reload"})
    else:
        session.note("The server is replacing its parts. Its log tells when it is done.")


@click.command("reopen-logs")
@server_command
def reopen_logs_command(session: Session) -> None:
    """Let the server open its log files again.

    For whoever has moved them: logrotate does so before it calls this.
    """
    with session.connect() as client:
        client.post("/v1/supervisor/reopen-logs")
    if session.as_json:
        session.json({"done": "reopen-logs"})
    else:
        session.note("The log files are open again.")


def _ask_server(
    session: Session,
    kind: str,
    ref: str,
    verb: str,
    done: str,
    body: dict[str, object] | None = None,
) -> None:
    from supervisor.cli.client import segment

    with session.connect() as client:
        client.post(f"/v1/supervisor/{kind}/{segment(ref)}/{verb}", body)
    if session.as_json:
        session.json({"ref": ref, "done": verb})
    else:
        session.note(f"{done} {printable(ref)}.")
