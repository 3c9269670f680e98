"""Work that a process has declared: it must not be ended because no visitor is there.

By a file: it makes the one that `SUPERVISOR_BUSY` in its environment names, touches it at least
once an hour while it works, and removes it when it has finished. No answer of ours is needed for
that, so any language can do it in one line. Or, where it answers requests, by the field
`Supervisor-Busy` of an answer: how long it will work. Neither keeps anything for ever.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

import attrs
import trio

from supervisor import unixsocket
from supervisor.layout import BUSY_NAME
from supervisor.model import Endpoint, InnerEndpoint, UnixEndpoint
from supervisor.settings.values import duration

BUSY_LIMIT = 3600.0  # seconds for which the file counts after it was touched, and an answer at most


@attrs.define(eq=False)
class Work:
    """What one process has declared. said: its last word by an answer, and when that was said.

    Gateways say the moment by the system's monotonic clock, which they and every core share: so
    the last word is known for that, through whichever gateway it came and however often.
    """

    said: tuple[str, float] | None = None
    _until: float = float("-inf")  # trio's time
    _blamed: bool = False

    def goes_on(self, endpoint: Endpoint | None) -> bool:
        """Whether the process says that it works, though nobody may be connected."""
        return trio.current_time() < self._until or works(endpoint)

    def hear(
        self, word: str, moment: float, clock: Callable[[], float] = time.monotonic
    ) -> tuple[bool, str]:
        """Take the word of an answer. Gives whether it is news, and what to say about a bad one.

        A bad word changes nothing, and is spoken of once.
        """
        before = self.said[1] if self.said else float("-inf")
        if not moment >= before or (word, moment) == self.said:
            return False, ""
        now = clock()
        moment = min(moment, now)
        try:
            seconds = _seconds(word)
        except ValueError as error:
            blamed, self._blamed = self._blamed, True
            return False, "" if blamed else f"Supervisor-Busy of an answer is ignored: {error}"
        self.said = word, moment
        self._until = trio.current_time() + min(seconds, BUSY_LIMIT) - (now - moment)
        return True, ""


def _seconds(word: str) -> float:
    """Read what an answer says. Raises ValueError with the reason."""
    return float(word) if word.isascii() and word.isdecimal() else duration(word)


def works(endpoint: Endpoint | None, clock: Callable[[], float] = time.time) -> bool:
    """Whether a process says that it works, though nobody may be connected.

    Only for processes whose socket's directory is at hand; False for all others.
    """
    if not isinstance(endpoint, UnixEndpoint | InnerEndpoint):
        return False
    try:
        directory = unixsocket.open_directory(endpoint.directory)
    except OSError:
        return False
    try:
        found = os.stat(BUSY_NAME, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    finally:
        os.close(directory)
    return stat.S_ISREG(found.st_mode) and abs(clock() - found.st_mtime) < BUSY_LIMIT
