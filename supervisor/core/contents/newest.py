"""Changes of a content on top of what is stored, also where we were not told of the last change."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from supervisor.core.scheduling.keeper import Keeper
from supervisor.core.storage.journal import Journal
from supervisor.errors import StoreConflict
from supervisor.model import Content


async def change(
    journal: Journal, keeper: Keeper, write: Callable[[Content], Awaitable[None]]
) -> None:
    """Let `write` record a change of what the keeper knows; call it while keeper.changing is held.

    A commit whose answer was lost may have been written all the same: the stored version is then
    newer than ours, and without this every later change would conflict. It is read and `write` is
    called once more. Raises StoreConflict where that was not the reason.
    """
    was = keeper.content
    try:
        await write(was)
    except StoreConflict:
        stored = await journal.get("content", was.id)
        if not isinstance(stored, Content) or stored.version <= was.version:
            raise
        keeper.content = stored
        await write(stored)
