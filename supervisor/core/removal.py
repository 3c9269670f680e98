"""Remove all files of a content that was removed: directories, bundles, logs."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from functools import partial

import trio

from supervisor import layout
from supervisor.core.journal import Journal
from supervisor.core.placing import deployment_place
from supervisor.interfaces import Executor
from supervisor.model import Content, PlaceKind, PlaceRef


async def remove_files(
    content: Content, executor: Executor, journal: Journal, data_dir: str
) -> None:
    """Remove what lies under DataDir for a content; nothing of it runs any more.

    A bundle that another content has uploaded as well stays. Raises SupervisorError where the
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
            with suppress(OSError):
                os.unlink(os.path.join(data_dir, "bundles", f"{bundle.digest}.tar.gz"))
