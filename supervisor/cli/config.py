"""`supervisor config check`, `show`, `reload`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.show import printable, table

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, also for errors.")
_WAITS = {
    "reload": "These wait for `supervisor reload`",
    "restart": "These wait for a restart of the server",
}


@click.group("config")
def config_command() -> None:
    """Check a settings file, show what counts, bring changes into force."""


@config_command.command("check")
@click.argument("file", metavar="[FILE]", required=False, type=click.Path())
@JSON
def check_command(file: str | None, as_json: bool) -> int:
    """Say all that is wrong with FILE (default: the usual one).

    Reads it with the variables of this environment, as `serve` would. Exit status 0 where the
    server would start with it, warnings or not.
    """
    from supervisor.cli.checking import check_file

    found = check_file(file)
    if as_json:
        problems = [problem.as_json() for problem in found.problems]
        file_and_more = {"file": found.file, "problems": problems, "warnings": found.warnings}
        click.echo(json.dumps(file_and_more))
    else:
        for problem in found.problems:
            click.echo(f"error    {printable(problem.message)} [{problem.code}]")
            for line in problem.hint.splitlines():
                click.echo(f"         {printable(line.strip())}")
        for warning in found.warnings:
            click.echo(f"warning  {printable(warning)}")
        where = found.file or "the built-in defaults"
        said = "The server would not start with" if found.problems else "The server takes"
        click.echo(f"{said} {printable(where)}.", err=True)
    return found.problems[0].exit_status if found.problems else 0


@config_command.command("show")
@click.argument("name", metavar="[SECTION[.KEY]]", required=False)
@click.option("--set", "only_set", is_flag=True, help="Only what is not a default.")
@click.option("--config", metavar="FILE", type=click.Path(), help="Of this file, not the server.")
@server_command
def show_command(session: Session, name: str | None, only_set: bool, config: str | None) -> None:
    """Show every setting: its value, where that comes from, and what a change needs.

    Secrets are not shown. Asks the running server, or reads a file as it would at its start.
    """
    rows = _of_file(config) if config else _of_server(session)
    wanted = [row for row in rows if _is_meant(row, name, only_set)]
    if session.as_json:
        session.json(wanted)
        return
    table(
        ("SETTING", "VALUE", "FROM", "CHANGE BY"),
        [
            (f"{row['section']}.{row['key']}", ", ".join(row["values"]) or "-", row["origin"],
             row["change"])
            for row in wanted
        ],
    )  # fmt: skip


@config_command.command("reload")
@server_command
def reload_command(session: Session) -> None:
    """Let the server read its file again, without new processes.

    Settings that may change while it runs are in force at once; the others are named. A file that
    does not hold changes nothing.
    """
    with session.connect() as client:
        answer = client.post("/v1/supervisor/config/reload")
    if session.as_json:
        session.json(answer)
        return
    for warning in answer["warnings"]:
        session.note(f"warning: {printable(warning)}")
    session.note(_listed("These are in force now", answer["applied"]) or "No change is in force.")
    for change, said in _WAITS.items():
        kept = [one["key"] for one in answer["kept"] if one["change"] == change]
        if kept:
            session.note(_listed(said, kept))


def _listed(said: str, names: Sequence[str]) -> str:
    return f"{said}: {printable(', '.join(names))}." if names else ""


def _of_server(session: Session) -> Sequence[Mapping[str, Any]]:
    with session.connect() as client:
        rows: Sequence[Mapping[str, Any]] = client.get("/v1/supervisor/config")["settings"]
        return rows


def _of_file(file: str) -> Sequence[Mapping[str, Any]]:
    from supervisor.cli.checking import kinds_of_plugins
    from supervisor.settings import load
    from supervisor.settings.effective import effective
    from supervisor.settings.sections import SECTIONS

    configuration = load(file)
    kinds = kinds_of_plugins(configuration.plugins.disable, warnings=[])
    return [one.as_json() for one in effective(configuration.entries, [*SECTIONS, *kinds])]


def _is_meant(row: Mapping[str, Any], name: str | None, only_set: bool) -> bool:
    if only_set and row["origin"] == "default":
        return False
    full = f"{row['section']}.{row['key']}".lower()
    wanted = (name or "").lower()
    return not name or wanted in (full, row["section"].lower())
