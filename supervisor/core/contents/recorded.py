"""A content that may be recorded though the answer of the store was lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from supervisor.core.scheduling.registry import Registry
from supervisor.core.storage.claims import Claims
from supervisor.core.storage.journal import Journal
from supervisor.errors import SupervisorError
from supervisor.model import Content, ContentId

PAUSE = 1.0  # seconds between two questions to a store that is away


async def open_if_recorded(
    number: ContentId,
    journal: Journal,
    claims: Claims,
    registry: Registry,
    opens: Callable[[Content], Awaitable[object]],
) -> None:
    """Once the store answers, open a content that it has, or give back the claim on it.

    Cancelled: whatever is recorded is opened by the next core.
    """
    while True:
        try:
            stored = await journal.get("content", number)
            if not isinstance(stored, Content) or stored.removed is not None:
                await claims.give_back([number])
                return
            ours = await claims.claim([number])
        except SupervisorError:
            await trio.sleep(PAUSE)
            continue
        if ours and registry.numbered(number) is None:
            await opens(stored)
        return
