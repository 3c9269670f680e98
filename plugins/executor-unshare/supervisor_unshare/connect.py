"""Connect to the socket of a run on behalf of the gateway."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from collections.abc import Iterator

from supervisor.layout import SOCKET_NAME
from supervisor_unshare.places import opened
from supervisor_unshare.verbs import Refused


@contextlib.contextmanager
def connected(directory: int, uid: int) -> Iterator[socket.socket]:
    """Give a stream socket connected to what listens in the directory (a descriptor, closed here).

    Raises Refused: socket-swapped where something else than a socket of `uid` lies there,
    unavailable where nobody listens or the queue is full.
    """
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with opened(directory), sock:
        try:
            found = os.open(SOCKET_NAME, flags, dir_fd=directory)
        except OSError as error:
            raise Refused(f"the run does not listen: {error}", code="unavailable") from None
        with opened(found):
            status = os.fstat(found)
            if not stat.S_ISSOCK(status.st_mode) or status.st_uid != uid:
                raise Refused(f"{SOCKET_NAME} is not a socket of uid {uid}", code="socket-swapped")
            try:
                sock.connect(f"/proc/self/fd/{found}")
            except OSError as error:
                raise Refused(f"the run does not answer: {error}", code="unavailable") from None
        yield sock
