"""Groups that are to go: removed at once, or tried again by the loop's timers until they are gone.

The kernel lets go of a group some time after its last process has ended; on a machine with much to
do that takes long. Nobody else waits for it meanwhile.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass

from supervisor_unshare.limits.cgroups import Group
from supervisor_unshare.linux.loop import Loop

_PATIENCE = 2.0  # seconds, after which a group counts as gone for those who want to know
_SOON = 0.005  # until the second try; each further one waits twice as long
_LONGEST = (0.1, 60.0)  # while somebody wants to know, and after that


def _nobody() -> None:
    pass


@dataclass(kw_only=True, eq=False)
class _Leaving:
    group: Group
    gone: Callable[[], None]
    until: float
    pause: float = _SOON

    def tell(self) -> None:
        gone, self.gone = self.gone, _nobody
        gone()


class Removals:
    """Remove groups whose processes have ended."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._left: list[_Leaving] = []

    def add(self, group: Group, gone: Callable[[], None] = _nobody) -> None:
        """Remove a group; never waits. Calls gone() once: when it is gone, or stays for long."""
        leaving = _Leaving(group=group, gone=gone, until=time.monotonic() + _PATIENCE)
        self._left.append(leaving)
        self._try(leaving)

    def finish(self, seconds: float) -> None:
        """Wait for all, for so long at most, and tell; what is left is tried again later."""
        until = time.monotonic() + seconds
        while True:
            for leaving in tuple(self._left):
                if leaving.group.remove():
                    self._left.remove(leaving)
                    leaving.tell()
            if not self._left or time.monotonic() >= until:
                break
            time.sleep(0.002)
        for leaving in tuple(self._left):
            leaving.tell()

    def _try(self, leaving: _Leaving) -> None:
        if leaving not in self._left:
            return
        removed = leaving.group.remove()
        over = time.monotonic() >= leaving.until
        if removed:
            self._left.remove(leaving)
        else:
            self._loop.after(leaving.pause, functools.partial(self._try, leaving))
            leaving.pause = min(2 * leaving.pause, _LONGEST[over])
        if removed or over:
            leaving.tell()
