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
EVERYTHING = 1 << 62  # bytes


@attrs.frozen
class Mark:
    """A whole second, and how many lines since then were read.

    since: the second, "" before the first line; first: the time of the first of these lines, by
    which a log that was rotated meanwhile is told.
    """

    since: str = ""
    first: str = ""
    lines: int = 0

    def with_line(self, time: str) -> Mark:
        """Count a line, if it is of this mark."""
        if _second(time) < self.since:
            return self
        return attrs.evolve(self, first=self.first or time, lines=self.lines + 1)


@attrs.frozen
class Position:
    """How far a log was read.

    The times of neighbouring lines may be the wrong way round, since a container's two streams are
    written by two copiers; and the server gives the lines from a whole second on. So lines are
    counted, from the second before the newest one: a late line of that second is counted, too.
    """

    marks: tuple[Mark, ...] = (Mark(),)
    offset: int = 0  # bytes read of a line whose end was not
    last: str = ""  # the time of the newest line

    @classmethod
    def of(cls, cursor: str) -> Position:
        """Read a cursor; "" is the beginning."""
        if not cursor:
            return cls()
        since, first, lines, offset, last = cursor.split(" ")
        return cls((Mark(since, first, int(lines)),), int(offset), last)

    def __str__(self) -> str:
        mark = self.marks[0]
        return f"{mark.since} {mark.first} {mark.lines} {self.offset} {self.last}"

    @property
    def since(self) -> str:
        """The time to ask the server for."""
        return self.marks[0].since

    def with_line(self, time: str) -> Position:
        """Count a line."""
        marks = self.marks
        if _second(time) > marks[-1].since:
            marks = (*marks, Mark(_second(time)))[-2:]
        return Position(
            tuple(mark.with_line(time) for mark in marks), last=max(self.last, time, key=_key)
        )

    def reread(self, first: str) -> tuple[Position, int]:
        """Give where an answer begins that was asked for by `since`, and how many lines to drop.

        first: the time of its first line. -1 lines: those up to `last`, for the counted ones are
        not all there any more.
        """
        mark = self.marks[0]
        lines = mark.lines if mark.first in ("", first) else -1
        return Position((Mark(mark.since),), last=self.last), lines


@attrs.define
class Log:
    """The log of a run's container, and how far it was sent."""

    client: Client
    view: View
    send: trio.MemorySendChannel[OutputChunk]
    position: Position

    async def follow(self) -> None:
        """Send what the container writes until it has ended."""
        while await _until_started(self.view):
            try:
                if not await self._read(follow=True):
                    await self._read(follow=False)  # a busy node may still have had lines to send
                if await _ends(self.view):
                    return
            except (NotFound, trio.BrokenResourceError):  # the latter: the reader has gone
                return
            except ApiError:
                pass  # broken off, or not quite started
            await trio.sleep(AGAIN)

    async def _read(self, *, follow: bool) -> bool:
        """Read the log once; tell whether to its end.

        A followed log may outlive its container: then it is left, wherever it was.
        """
        assert self.view.pod is not None
        metadata = self.view.pod["metadata"]
        namespace, pod, since = metadata["namespace"], metadata["name"], self.position.since
        trouble: Exception | None = None
        ended = False
        async with trio.open_nursery() as nursery:
            if follow:
                nursery.start_soon(_leave_after_end, self.view, nursery.cancel_scope)
            try:
                async with self.client.log(
                    namespace, pod, CONTENT, since=since, follow=follow
                ) as lines:
                    await self._copy(lines)
                    ended = True
            except (ApiError, trio.BrokenResourceError) as error:
                trouble = error  # a nursery would wrap it
            nursery.cancel_scope.cancel()
        if trouble is not None:
            raise trouble
        return ended

    async def _copy(self, pieces: AsyncIterator[bytes]) -> None:
        """Send what an answer has beyond the position, and move it."""
        before = now = self.position
        index = drop = skip = 0
        time, begins = "", True
        async for piece in pieces:
            data = piece
            if begins:  # a long line comes in pieces, and only the first has its time
                stamp, _, data = piece.partition(b" ")
                time = stamp.decode("ascii", "replace")
                if index == 0:
                    now, drop = before.reread(time)
                old = index < drop if drop >= 0 else _key(time) <= _key(before.last)
                skip = EVERYTHING if old else before.offset if index == drop else 0
            begins = piece.endswith(b"\n")
            index += begins
            offset = now.offset + len(data)
            now = now.with_line(time) if begins else attrs.evolve(now, offset=offset)
            data, skip = data[skip:], max(0, skip - len(data))
            if data:
                await self.send.send(OutputChunk(stream="stdout", data=data, cursor=str(now)))
                self.position = now


async def follow(
    client: Client,
    view: View,
    cursor: str,
    send: trio.MemorySendChannel[OutputChunk],
    scope: trio.CancelScope,
) -> None:
    """Send what the container writes, from `cursor` on, until it has ended or `scope` is over."""
    with scope:
        async with send:
            await Log(client, view, send, Position.of(cursor)).follow()


def _second(time: str) -> str:
    """Cut a time to its second."""
    return time[:19] + "Z"


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
