"""Several Shiny sessions that stay open while a test does something to the server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import attrs
import trio

from tests.support.shiny_client import Session, Visitor

OUTPUTS = {"shiny-r-hello": "double", "shiny-python-core": "total"}


@attrs.frozen(eq=False)
class Open:
    """One open session of a visitor and the output that it shows (it depends on the input n)."""

    visitor: Visitor
    session: Session
    output: str

    async def answers(self, n: int, *, seconds: float = 20.0) -> object:
        """Move the slider to n and give the value that comes back."""
        with trio.fail_after(seconds):
            await self.session.update(n=n)
            return await self.session.value(self.output)


@asynccontextmanager
async def open_sessions(
    wanted: Sequence[tuple[str, str]], *, seconds: float = 60.0
) -> AsyncIterator[list[Open]]:
    """Open one session per (url, output), each of a visitor of its own who has got the page."""
    opened: list[Open] = []
    done = trio.Event()

    async def visit(
        url: str, output: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        visitor = Visitor(url)
        page = await visitor.get(accept="*/*")
        assert page.status == 200, page
        async with visitor.session([output], {"n": 7}) as session:
            await session.value(output)
            opened.append(Open(visitor, session, output))
            task_status.started()
            await done.wait()

    async with trio.open_nursery() as nursery:
        with trio.fail_after(seconds):
            for url, output in wanted:
                await nursery.start(visit, url, output)
        yield opened
        done.set()
