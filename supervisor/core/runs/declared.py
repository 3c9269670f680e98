"""Work that a process has declared: it must not be ended because no visitor is there.

The process makes a file (`SUPERVISOR_BUSY` in its environment names it), touches it at least once
an hour while it works, and removes it when it has finished. No answer of ours is needed for that,
so any language can do it in one line, and a forgotten file keeps nothing for ever.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable

from supervisor import unixsocket
from supervisor.layout import BUSY_NAME
from supervisor.model import Endpoint, InnerEndpoint, UnixEndpoint

BUSY_LIMIT = 3600.0  # seconds for which the file counts after it was touched


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
