"""`supervisor deploy`: pack, upload, follow the task, print the address."""

from __future__ import annotations

import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from supervisor.cli.options import Session, server_command
from supervisor.cli.show import printable, size
from supervisor.errors import CODES, SupervisorError

if TYPE_CHECKING:
    from supervisor.cli.bundle import Packed
    from supervisor.cli.client import Client

CHUNK = 256 * 1024
POLL = 10  # seconds that one request waits for news of the task
MOST_NAMES = 1000


@click.command("deploy")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--name", help="Name of the content (default: the folder's).")
@click.option("--title", help="Title that people see.")
@click.option("--new", is_flag=True, help="Make a new content even if the name is taken.")
@server_command
def deploy_command(
    session: Session, folder: Path, name: str | None, title: str | None, new: bool
) -> None:
    """Publish the app in DIR. The same name again updates the same content."""
    from supervisor.cli.bundle import list_files, pack, total_size

    began = time.monotonic()
    files = list_files(folder)
    name = content_name(folder) if name is None else name
    with session.connect() as client, tempfile.TemporaryFile() as file:
        most = client.get("/server_settings")["supervisor"]["max_bundle"]
        with _bar("Packing", total_size(folder, files), session) as advance:
            packed = pack(folder, files, file, advance)
        _check_size(packed, most)
        item, created = _find_or_create(client, name, title, new)
        known = f"new content {item['name']}" if created else f"update of {item['name']}"
        count = f"{packed.count} file" + ("s" if packed.count != 1 else "")
        session.note(f"Deploying {printable(str(folder))} as {known}: {count}, {size(packed.size)}")
        try:
            bundle = _upload(client, item["guid"], packed, session)
        except BaseException:  # Ctrl-C too
            if created:
                with suppress(SupervisorError):
                    client.delete(f"/v1/content/{item['guid']}")
            raise
        task = client.post(f"/v1/content/{item['guid']}/deploy", {"bundle_id": bundle["id"]})
        try:
            output = _follow(client, task["task_id"], session)
        except SupervisorError:
            if created:
                again = f"mend it and deploy again, or `supervisor remove {item['name']}`"
                session.note(f"{item['name']} stays, without an app: {again}.")
            raise
        item = client.get(f"/v1/content/{item['guid']}")
    if session.as_json:
        facts = {"guid": item["guid"], "name": item["name"], "url": item["content_url"]}
        ids = {"bundle_id": bundle["id"], "task_id": task["task_id"]}
        session.json({**facts, **ids, "created": created, "output": output})
    else:
        session.note(f"Deployed {item['name']} in {time.monotonic() - began:.1f} s")
        click.echo(item["content_url"])


def content_name(folder: Path) -> str:
    """Make a content's name of a folder's; other characters than [A-Za-z0-9_-] become dashes."""
    own = os.path.basename(os.path.abspath(folder))  # as it is called here, also when it is a link
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", own).strip("-")[:64]
    if len(name) < 3:
        raise SupervisorError(
            "bad-request",
            f"The folder's name '{own}' makes no name for a content.",
            hint="Give one with --name: 3 to 64 letters, digits, dashes or underscores.",
        )
    return name


def _check_size(packed: Packed, most: int) -> None:
    if packed.size > most:
        raise SupervisorError(
            "too-large",
            f"The bundle has {size(packed.size)}; this server accepts {size(most)}.",
            hint="Leave out data and caches with a .supervisorignore file.",
        )


def _find_or_create(
    client: Client, name: str, title: str | None, new: bool
) -> tuple[dict[str, Any], bool]:
    found = client.get("/v1/content", name=name)
    if found and not new:
        item: dict[str, Any] = found[0]
        if title is not None and title != item["title"]:
            client.patch(f"/v1/content/{item['guid']}", {"title": title})
        return item, False
    if found:
        taken = {item["name"] for item in client.get("/v1/content")}
        free = (f"{name[:58]}-{number}" for number in range(2, MOST_NAMES))
        name = next(candidate for candidate in free if candidate not in taken)
    return client.post("/v1/content", {"name": name, "title": title or ""}), True


def _upload(client: Client, guid: str, packed: Packed, session: Session) -> dict[str, Any]:
    with _bar("Uploading", packed.size, session) as advance:

        def chunks() -> Iterator[bytes]:
            while chunk := packed.file.read(CHUNK):
                yield chunk
                advance(len(chunk))

        bundle: dict[str, Any] = client.upload(f"/v1/content/{guid}/bundles", chunks(), packed.size)
    return bundle


@contextmanager
def _bar(label: str, total: int, session: Session) -> Iterator[Callable[[int], object]]:
    """Show a bar of `total` bytes to a person at a terminal; yield what moves it on."""
    if session.as_json or not sys.stderr.isatty():
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(f"{label:<9}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task(label, total=total)
        yield lambda count: progress.advance(bar, count)


def _follow(client: Client, task_id: str, session: Session) -> list[str]:
    output: list[str] = []
    while True:
        task = client.get(f"/v1/tasks/{task_id}", first=len(output), wait=POLL)
        for line in task["output"]:
            session.note(f"  {printable(line)}")
        output += task["output"]
        if task["finished"]:
            break
    if task["code"] != 0:
        raise task_error(task["error"])
    return output


def task_error(text: str) -> SupervisorError:
    """Make an error of a failed task's text, which has its code at the end."""
    found = [
        match
        for match in re.finditer(r"\s*(?:\[|\(Error code: )([a-z-]+)[\])]", text)
        if match[1] in CODES
    ]
    if not found:
        return SupervisorError("internal", text or "The deployment failed without a reason.")
    last = found[-1]
    return SupervisorError(last[1], text[: last.start()], hint=text[last.end() :].strip())
