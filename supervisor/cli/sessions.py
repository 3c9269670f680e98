"""`supervisor sessions`."""

from __future__ import annotations

from typing import Any

import click

from supervisor.cli.options import Session, complete_content, server_command
from supervisor.cli.show import Right, age, short_run, size, table


@click.command("sessions")
@click.argument("content", required=False, shell_complete=complete_content)
@server_command
def sessions_command(session: Session, content: str | None) -> None:
    """Show the sessions and who waits in line.

    Those of CONTENT, or all. STATE is open, away (the connection broke, the seat is kept),
    reserved (a page was loaded) or waiting. QUIET: how long nothing was sent either way. IN: what
    the visitor sent.
    """
    parameters = {} if content is None else {"content": content}
    with session.connect() as client:
        seats = client.get("/v1/supervisor/sessions", **parameters)
    if session.as_json:
        session.json(seats)
        return
    if not seats:
        session.note("Nobody is here.")
        return
    headers = "CONTENT RUN STATE VISITOR SINCE QUIET IN OUT POSITION".split()
    table(headers, [_row(seat) for seat in seats])


def _row(seat: dict[str, Any]) -> tuple[object, ...]:
    sides = (seat["quiet_client"], seat["quiet_worker"])
    known = [seconds for seconds in sides if seconds is not None]
    return (
        seat["content"]["name"],
        short_run(seat["run"]) or "-",
        seat["state"],
        seat["visitor"],
        age(seat["age"]),
        age(min(known) if known else None),
        size(seat["bytes_in"]),
        size(seat["bytes_out"]),
        Right("-" if seat["position"] is None else seat["position"]),
    )
