"""`supervisor ps`."""

from __future__ import annotations

from typing import Any

import click

from supervisor.cli.options import Session, complete_content, server_command
from supervisor.cli.show import Right, age, short_run, size, table


@click.command("ps")
@click.argument("content", required=False, shell_complete=complete_content)
@click.option("--all", "-a", "ended", is_flag=True, help="Also the last runs that have ended.")
@server_command
def ps_command(session: Session, content: str | None, ended: bool) -> None:
    """Show the processes, newest first.

    Those of CONTENT, or all.
    """
    parameters: dict[str, str | int] = {"ended": int(ended)}
    if content is not None:
        parameters["content"] = content
    with session.connect() as client:
        runs = client.get("/v1/supervisor/runs", **parameters)
    if session.as_json:
        session.json(runs)
        return
    if not runs:
        session.note("No process runs." if not ended else "No process ran yet.")
        return
    headers = "RUN CONTENT PURPOSE STATE PID SESSIONS CPU MEMORY AGE REASON".split()
    table(headers, [_row(run) for run in runs])


def _row(run: dict[str, Any]) -> tuple[object, ...]:
    return (
        short_run(run["id"]),
        run["content"]["name"],
        run["purpose"],
        run["state"],
        Right("-" if run["pid"] is None else run["pid"]),
        run["sessions"],
        Right("-" if run["cpu"] is None else f"{run['cpu']:.1f}s"),
        size(run["memory"]),
        age(run["age"]),
        run["reason"],
    )
