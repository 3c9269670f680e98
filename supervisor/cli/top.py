"""`supervisor top`."""

from __future__ import annotations

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.show import Right, size, table
from supervisor.cli.watch import interval_option, is_live, looks, show_live


@click.command("top")
@click.option("--once", is_flag=True, help="Print one table and end, as without a terminal.")
@interval_option
@server_command
def top_command(session: Session, once: bool, interval: float) -> int:
    """Show what each content uses: processor and memory of all its processes together.

    Who computes most comes first. CPU% is of one processor, over the interval.
    """
    if not once and not session.as_json and is_live():
        from supervisor.cli.screen import contents

        return show_live(session, contents, interval)
    from supervisor.cli.rates import totals
    from supervisor.wire import to_json

    for before, now in looks(session, interval):
        if before is None:
            continue
        found = totals(before, now)
        if session.as_json:
            session.json([to_json(total) for total in found])
        elif not found:
            session.note("No process runs.")
        else:
            headers = "CONTENT STATE PROCESSES SESSIONS WAITING CPU% MEMORY".split()
            rows = [
                (
                    total.name,
                    total.state,
                    Right(f"{total.processes}/{total.most}"),
                    Right(f"{total.sessions}/{total.seats}"),
                    total.waiting,
                    Right("-" if total.cpu is None else f"{total.cpu:.1f}"),
                    size(total.memory),
                )
                for total in found
            ]
            table(headers, rows)
        break
    return 0
