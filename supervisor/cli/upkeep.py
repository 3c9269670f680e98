"""`supervisor gc`, `backup` and `restore`."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path
from typing import Any

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.serve import CONFIG
from supervisor.cli.show import printable, size, table
from supervisor.errors import CODES, SupervisorError


@click.command("gc")
@click.option("--dry-run", is_flag=True, help="Only show what would go.")
@server_command
def gc_command(session: Session, dry_run: bool) -> None:
    """Remove what is not needed any more, and show it.

    Records and logs of runs, bundles and directories beyond what the settings keep; the server
    does the same by itself from time to time ([Housekeeping] Interval).
    """
    with session.connect() as client:
        path = "/v1/supervisor/gc"
        going = client.get(path) if dry_run else client.post(path)
        names = {item["id"]: item["name"] for item in client.get("/v1/content")}
    if session.as_json:
        session.json(going)
        return
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for each in going:
        number = str(each["content"] or "")
        key = (each["kind"], names.get(number, number), each["reason"])
        groups.setdefault(key, []).append(each)
    if groups:
        rows = [
            (kind, content, len(group), _sum(group), reason)
            for (kind, content, reason), group in sorted(groups.items())
        ]
        table(("KIND", "CONTENT", "COUNT", "SIZE", "WHY"), rows)
    unknown = sum(each["size"] is None for each in going)
    known = size(sum(each["size"] or 0 for each in going))
    more = f" and {unknown} whose size only their owner knows" if unknown else ""
    what = "would go" if dry_run else "went"
    session.note(f"{len(going)} {what}: {known}{more}." if going else "Nothing is superfluous.")


def _sum(group: list[dict[str, Any]]) -> str:
    sizes = [each["size"] for each in group]
    return "?" if None in sizes else size(sum(sizes))


@click.command("backup")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@server_command
def backup_command(session: Session, file: Path) -> None:
    """Write everything that must survive to FILE while the server serves.

    FILE must not exist. It holds secrets and what content keeps; only you may read it.
    """
    if file.exists():
        raise SupervisorError(
            "bad-request", f"{file} exists already.", hint="Name another file, or remove it first."
        )
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise SupervisorError(
            "bad-request", f"{partial} cannot be written: {error.strerror}."
        ) from None
    try:
        with session.connect() as client, open(descriptor, "wb") as target:
            try:
                for piece in client.pieces("/v1/supervisor/backup"):
                    target.write(piece)
                target.flush()
                os.fsync(target.fileno())
            except OSError as error:
                raise SupervisorError(
                    "unavailable", f"{partial} cannot be written: {error.strerror}."
                ) from None
        about, end = _read(partial)
        partial.rename(file)
    finally:
        partial.unlink(missing_ok=True)
    told = {"file": str(file), "size": file.stat().st_size, **about, **end}
    if session.as_json:
        session.json(told)
        return
    count = len(about["contents"])
    session.note(
        f"Wrote {printable(str(file))}: {count} content{'s' if count != 1 else ''},"
        f" {end['records']} records, {size(told['size'])}"
    )
    for line in end["left_out"]:
        session.note(f"  not in it: {printable(line)}")


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give the first and the last member; raises SupervisorError where it is incomplete."""
    found: dict[str, Any] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for member in archive:
                if member.name in ("backup.json", "end.json", "error.json"):
                    file = archive.extractfile(member)
                    assert file is not None
                    found[member.name] = json.load(file)
    except (tarfile.TarError, ValueError, OSError) as error:
        raise SupervisorError("unavailable", f"The backup cannot be read: {error}.") from None
    if failed := found.get("error.json"):
        code = failed["code"] if failed["code"] in CODES else "internal"
        raise SupervisorError(
            code, f"The server gave the backup up: {failed['error']}", hint=failed["hint"]
        )
    if "end.json" not in found or "backup.json" not in found:
        raise SupervisorError(
            "unavailable", "The backup broke off; nothing was kept of it.", recoverable=True
        )
    return found["backup.json"], found["end.json"]


@click.command("restore")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False))
@CONFIG
@click.option("--data-dir", metavar="DIR", type=click.Path(file_okay=False), help="Server.DataDir.")
def restore_command(file: Path, config: str | None, data_dir: str | None) -> None:
    """Fill an empty DataDir from FILE, which `supervisor backup` wrote.

    The server must not run. As root, or as the user of a server without root.
    """
    arguments, environment = (
        [sys.executable, "-I", "-m", "supervisor.parent.restore"],
        {**os.environ},
    )
    if config is not None:
        arguments += ["--config", os.path.abspath(config)]
    if data_dir is not None:
        environment["SUPERVISOR_SERVER_DATADIR"] = os.path.abspath(data_dir)
    sys.stdout.flush()
    os.execve(sys.executable, [*arguments, os.path.abspath(file)], environment)
