"""`supervisor leases`."""

from __future__ import annotations

from typing import Any

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.show import Right, age, table

SHORT = 8  # characters of a node's id
HEADERS = "LEASE NODE HOST FENCE ENDS".split()


@click.command("leases")
@server_command
def leases_command(session: Session) -> None:
    """Show which node holds what.

    A lease is `data-dir` of a server that is alone, `node/…` of one of several, `content/ID` of
    whoever runs that content, `seat/server/N` of a node that may have contents where Server.Seats
    limits how many do. FENCE grows with each new holder. ENDS is the time left unless its holder
    renews it, which it does every few seconds.
    """
    with session.connect() as client:
        leases = client.get("/v1/supervisor/leases")
    if session.as_json:
        session.json(leases)
    elif not leases:
        session.note("Nobody holds anything.")
    else:
        table(HEADERS, [_row(lease) for lease in leases])


def _row(lease: dict[str, Any]) -> tuple[object, ...]:
    over = lease["left"] <= 0
    return (
        lease["name"],
        lease["node"][:SHORT],
        lease["host"] or "-",
        Right(lease["fence"]),
        "is over" if over else f"in {age(lease['left'])}",
    )
