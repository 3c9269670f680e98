"""Follow the log of a run's container, and go on where somebody has read before."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs
import trio

from supervisor import OutputChunk
from supervisor_executor_kubernetes import status
from supervisor_executor_kubernetes.client import Client
from supervisor_executor_kubernetes.errors import ApiError, NotFound
from supervisor_executor_kubernetes.shape import CONTENT
from supervisor_executor_kubernetes.views import View

AGAIN = 1.0  # seconds until a log that broke off is asked for again
LAST_WORDS = 3.0  # seconds for a log to end by itself once its container has


@attrs.define
class Position:
    """How far a log was read: the time of the last line, and how many lines of that time."""

    time: str = ""
    count: int = 0

    @classmethod
    def of(cls, cursor: str) -> Position:
        """Read a cursor; "" is the beginning."""
        time, _, count = cursor.partition(" ")
        return cls(time, int(count or 0))

    def __str__(self) -> str:
        return f"{self.time} {self.count}" if self.time else ""

    def step(self, time: str) -> None:
        """Count one line."""
        if time == self.time:
            self.count += 1
        else:
            self.time, self.count = time, 1


async def follow(
    client: Client,
    view: View,
    cursor: str,
    send: trio.MemorySendChannel[OutputChunk],
    scope: trio.CancelScope,
) -> None:
    """Send what the container writes, from `cursor` on, until it has ended or `scope` is over."""
    position = Position.of(cursor)
    with scope:
        async with send:
            while await _until_started(view):
                try:
                    await _read(client, view, position, send)
                    if await _ends(view):
                        return
                except (NotFound, trio.BrokenResourceError):  # the latter: the reader has gone
                    return
                except ApiError:
                    pass  # broken off, or not quite started
                await trio.sleep(AGAIN)


async def _read(
    client: Client,
    view: View,
    position: Position,
    send: trio.MemorySendChannel[OutputChunk],
) -> None:
    """Read the log once, to its end. The stream may outlive the container: then it is left."""
    assert view.pod is not None
    metadata = view.pod["metadata"]
    trouble: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_leave_after_end, view, nursery.cancel_scope)
        try:
            async with client.log(
                metadata["namespace"], metadata["name"], CONTENT, since=position.time, follow=True
            ) as lines:
                await _copy(lines, position, send)
        except (ApiError, trio.BrokenResourceError) as error:
            trouble = error  # a nursery would wrap it
        nursery.cancel_scope.cancel()
    if trouble is not None:
        raise trouble


async def _copy(
    lines: AsyncIterator[bytes], position: Position, send: trio.MemorySendChannel[OutputChunk]
) -> None:
    seen = Position()  # of this answer, which begins with the whole second of `position`
    before = attrs.evolve(position)
    fresh = True  # a long line comes in pieces, and only the first has its time
    skipping = False
    async for piece in lines:
        data = piece
        if fresh:
            stamp, _, data = piece.partition(b" ")
            time = stamp.decode("ascii", "replace")
            seen.step(time)
            skipping = _key(time) < _key(before.time) or (
                time == before.time and seen.count <= before.count
            )
            if not skipping:
                position.time, position.count = seen.time, seen.count
        fresh = piece.endswith(b"\n")
        if not skipping:
            await send.send(OutputChunk(stream="stdout", data=data, cursor=str(position)))


def _key(time: str) -> tuple[str, str]:
    """Order times as RFC 3339 writes them: without zeros at the end of the fraction."""
    seconds, _, fraction = time.rstrip("Z").partition(".")
    return seconds, fraction.ljust(9, "0")


async def _until_started(view: View) -> bool:
    """Wait until there is a log; False where there will be none."""
    while True:
        news = view.news
        if view.gone:
            return False
        if view.pod is not None and status.has_started(view.pod):
            return True
        if view.exit is not None:
            return False
        await news.wait()


async def _until_ended(view: View) -> None:
    while not (view.gone or (view.pod is not None and status.has_ended(view.pod))):
        news = view.news
        await news.wait()


async def _ends(view: View) -> bool:
    """Tell whether the container ends now: its log has, and the news of it may be on its way."""
    with trio.move_on_after(LAST_WORDS) as waiting:
        await _until_ended(view)
    return not waiting.cancelled_caught


async def _leave_after_end(view: View, scope: trio.CancelScope) -> None:
    await _until_ended(view)
    await trio.sleep(LAST_WORDS)
    scope.cancel()
