"""Remove all files of a content that was removed: directories, bundles, logs."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import partial

import trio

from supervisor import layout
from supervisor.core.runs.placing import deployment_place
from supervisor.core.storage.journal import Journal
from supervisor.interfaces import Executor
from supervisor.model import Content, PlaceKind, PlaceRef

ASIDE = ".going"


async def remove_files(
    content: Content, executor: Executor, journal: Journal, data_dir: str
) -> None:
    """Remove what lies under DataDir for a content; nothing of it runs any more.

    A bundle that another content has uploaded as well stays, also while its record is on its way:
    then the sweep removes it, if it never comes. Raises SupervisorError where the
    executor cannot remove a directory; may be called again.
    """
    places = [PlaceRef(kind=PlaceKind.STATE, ids=(content.id,))]
    for deployment in await journal.find("deployment", {"content": content.id}):
        places.append(deployment_place(content, deployment))
    for place in places:
        await executor.remove(place)
    await _remove_bundles(content, journal, data_dir)
    logs = os.path.join(data_dir, *layout.log_components(content.id, "")[:2])
    await trio.to_thread.run_sync(partial(shutil.rmtree, logs, ignore_errors=True))


async def _remove_bundles(content: Content, journal: Journal, data_dir: str) -> None:
    for bundle in await journal.find("bundle", {"content": content.id}):
        others = await journal.find("bundle", {"digest": bundle.digest})
        users = tuple({other.content for other in others})
        if not await journal.find("content", {"id": users, "removed": None}, limit=1):
            path = os.path.join(data_dir, "bundles", f"{bundle.digest}.tar.gz")
            newest = max((other.created for other in others), default=bundle.created)
            with suppress(OSError):
                await trio.to_thread.run_sync(remove_archive, path, newest)


def remove_archive(path: str, newest: float) -> None:
    """Remove the archive of a bundle, unless it was written after `newest` (epoch seconds).

    One that is newer than what was recorded is an upload whose record is on its way. The file is
    renamed first: whoever uploads the same bytes now makes a file of their own.
    """
    aside = f"{path}{ASIDE}"
    try:
        if os.lstat(path).st_mtime > newest:
            return
        os.rename(path, aside)
    except FileNotFoundError:
        return
    if os.lstat(aside).st_mtime > newest:
        with suppress(FileExistsError):
            os.link(aside, path)
    os.unlink(aside)
