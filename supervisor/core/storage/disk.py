"""The disk of DataDir: how much of it stays free, and refusing what would not fit."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import attrs
import trio

from supervisor.errors import SupervisorError
from supervisor.interfaces import Finding
from supervisor.settings.values import Share

_BRING_BACK = (
    "Put the directory back where it was. To move it, stop the server first and name its new"
    " place in [Server] DataDir."
)


class Space(NamedTuple):
    """Bytes of a file system: what this user may still write, and all of it."""

    left: int
    total: int


@attrs.define(eq=False)
class Disk:
    """The file system of `path`. kept: how much stays free; of several the largest counts."""

    path: str
    kept: Sequence[Share] = ()

    def space(self) -> Space:
        """Look. Raises OSError."""
        found = os.statvfs(self.path)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)

    def floor(self, total: int) -> int:
        """Give the bytes that stay free of a disk of `total` bytes."""
        return max((share.of(total) for share in self.kept), default=0)

    async def refuse_full(self, more: int = 0) -> None:
        """Raise SupervisorError("disk-full") where `more` bytes would leave less than the floor.

        Or "unavailable", where there is no such directory any more.
        """
        try:
            left, total = await trio.to_thread.run_sync(self.space)
        except OSError as error:
            raise SupervisorError(
                "unavailable", self._away(error), hint=_BRING_BACK, recoverable=True
            ) from None
        floor = self.floor(total)
        if left - more < floor:
            raise full(f"{_amount(left)} are left of its disk, {_amount(floor)} stay free", more)

    def finding(self) -> Finding:
        """Say how full it is, for `supervisor doctor`."""
        try:
            left, total = self.space()
        except OSError as error:
            return Finding(name="disk", ok=False, text=self._away(error), fix=_BRING_BACK)
        floor = self.floor(total)
        text = f"{_amount(left)} of {_amount(total)} are left at {self.path}"
        if left >= floor:
            return Finding(name="disk", ok=True, text=text)
        return Finding(
            name="disk",
            ok=False,
            text=f"{text}; uploads are refused below {_amount(floor)} (Housekeeping.MinFreeSpace)",
            fix="make room: `supervisor gc` removes what is not needed",
        )

    def _away(self, error: OSError) -> str:
        return f"Server.DataDir = {self.path} is away: {error.strerror}"


def full(why: str, more: int = 0) -> SupervisorError:
    """Make the refusal of an upload for which there is no room."""
    size = f" of {_amount(more)}" if more else ""
    return SupervisorError(
        "disk-full",
        f"The server has no room for an upload{size}: {why}.",
        hint="What is published goes on. Its administrator makes room: `supervisor gc` shows and"
        " removes what is not needed, `supervisor remove CONTENT` whole contents.",
    )


def _amount(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if abs(count) >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
