"""`supervisor list` and `supervisor remove`."""

from __future__ import annotations

import sys

import click

from supervisor.cli.options import Session, complete_content, server_command
from supervisor.cli.show import printable, table
from supervisor.errors import SupervisorError


@click.command("list")
@server_command
def list_command(session: Session) -> None:
    """List what is published."""
    with session.connect() as client:
        items = client.get("/v1/content")
    if session.as_json:
        session.json(items)
        return
    if not items:
        session.note("Nothing is published yet. Try: supervisor deploy DIR")
        return
    table(
        ("NAME", "STATE", "PROCESSES", "SESSIONS", "URL", "TITLE"),
        [
            (
                item["name"],
                item["supervisor"]["state"],
                item["supervisor"]["processes"],
                item["supervisor"]["sessions"],
                item["content_url"],
                item["title"],
            )
            for item in items
        ],
    )
    for item in items:
        if item["supervisor"]["state"] == "failed" and item["supervisor"]["reason"]:
            session.note(printable(f"{item['name']}: {item['supervisor']['reason']}"))


@click.command("remove")
@click.argument("content", shell_complete=complete_content)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@server_command
def remove_command(session: Session, content: str, yes: bool) -> None:
    """Stop CONTENT and remove it with its files."""
    from supervisor.cli.client import segment

    with session.connect() as client:
        item = client.get(f"/v1/content/{segment(content)}")
        if not yes:
            _ask(item["name"], session)
        client.delete(f"/v1/content/{item['guid']}")
    if session.as_json:
        session.json({"guid": item["guid"], "name": item["name"], "removed": True})
    else:
        session.note(f"Removed {printable(item['name'])}.")


def _ask(name: str, session: Session) -> None:
    if session.as_json or not sys.stdin.isatty():
        raise SupervisorError(
            "bad-request",
            f"Removing '{name}' cannot be undone, so it needs a yes.",
            hint="Add --yes.",
        )
    click.confirm(f"Remove {printable(name)} with all its files?", abort=True, err=True)
