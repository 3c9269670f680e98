"""`supervisor ps`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import click

from supervisor.cli.options import Session, complete_content, server_command
from supervisor.cli.show import Right, age, short_run, size, table
from supervisor.cli.watch import interval_option, is_live, looks, show_live
from supervisor.errors import SupervisorError

FULL = "root"  # the tier that keeps everything apart
SHORT = 8  # characters of a node's id
HEADERS = "RUN CONTENT PURPOSE STATE PID SESSIONS CPU MEMORY AGE REASON".split()


@click.command("ps")
@click.argument("content", required=False, shell_complete=complete_content)
@click.option("--all", "-a", "ended", is_flag=True, help="Also the last runs that have ended.")
@click.option("--watch", "-w", is_flag=True, help="Show them live; q quits.")
@interval_option
@server_command
def ps_command(
    session: Session, content: str | None, ended: bool, watch: bool, interval: float
) -> int:
    """Show the processes, newest first.

    Those of CONTENT, or all. CPU is the time used so far; with --watch it is percent of one
    processor. Without a terminal --watch prints a table at each interval, with --json an object.
    """
    if watch:
        return _watch(session, content, ended, interval)
    parameters: dict[str, str | int] = {"ended": int(ended)}
    if content is not None:
        parameters["content"] = content
    with session.connect() as client:
        runs = client.get("/v1/supervisor/runs", **parameters)
    if session.as_json:
        session.json(runs)
    elif not runs:
        session.note("No process runs." if not ended else "No process ran yet.")
    else:
        cpu = {run["id"]: f"{run['cpu']:.1f}s" for run in runs if run["cpu"] is not None}
        _table(runs, cpu)
    return 0


def _table(runs: Sequence[dict[str, Any]], cpu: Mapping[str, str]) -> None:
    """Print the runs; with nodes where another one has any, with tiers where not all is kept."""
    more: dict[str, list[str]] = {}
    if not all(run.get("here", True) for run in runs):
        more["NODE"] = [run["node"][:SHORT] for run in runs]
    tiers = [run.get("tier") or "-" for run in runs]
    if not set(tiers) <= {FULL, "-"}:
        more["TIER"] = tiers
    rows = []
    for number, run in enumerate(runs):
        first, second, *rest = _row(run, cpu)
        rows.append((first, second, *(column[number] for column in more.values()), *rest))
    table([*HEADERS[:2], *more, *HEADERS[2:]], rows)


def _watch(session: Session, content: str | None, ended: bool, interval: float) -> int:
    from supervisor.cli.client import segment

    if ended:
        raise SupervisorError("bad-request", "--watch shows what runs now; leave --all out.")
    guid = None
    if content is not None:
        with session.connect() as client:
            guid = client.get(f"/v1/content/{segment(content)}")["guid"]
    if not session.as_json and is_live():
        from supervisor.cli.screen import processes

        return show_live(session, processes, interval, guid)
    from supervisor.cli.rates import percents

    for before, now in looks(session, interval, guid):
        shares = percents(before, now)
        if session.as_json:
            runs = [{**run, "cpu_percent": shares.get(run["id"])} for run in now["runs"]]
            session.json({**now, "runs": runs})
        else:
            click.echo(now["time"])
            cpu = {run: f"{share:.1f}%" for run, share in shares.items()}
            _table(now["runs"], cpu)
            click.echo()
    return 0


def _row(run: dict[str, Any], cpu: Mapping[str, str]) -> tuple[object, ...]:
    return (
        short_run(run["id"]),
        run["content"]["name"],
        run["purpose"],
        run["state"],
        Right("-" if run["pid"] is None else run["pid"]),
        run["sessions"],
        Right(cpu.get(run["id"], "-")),
        size(run["memory"]),
        age(run["age"]),
        run["reason"] or _lacking(run.get("lacking", ())),
    )


def _lacking(names: Sequence[str]) -> str:
    return f"without {', '.join(names)}: not enforced here" if names else ""
