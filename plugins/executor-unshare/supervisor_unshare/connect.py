"""Connect to the socket of a run on behalf of the gateway."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

from supervisor import SupervisorError, unixsocket
from supervisor.layout import SOCKET_NAME
from supervisor_unshare.fields import Refused
from supervisor_unshare.places import opened


@contextlib.contextmanager
def connected(directory: int, uid: int) -> Iterator[socket.socket]:
    """Give a stream socket connected to what listens in the directory (a descriptor, closed here).

    Raises Refused: socket-swapped where something else than a socket of `uid` lies there,
    unavailable where nobody listens or the queue is full.
    """
    with opened(directory):
        try:
            sock = unixsocket.connect(directory, SOCKET_NAME, uid)
        except SupervisorError as error:
            raise Refused(error.message, code=error.code) from None
        except FileNotFoundError:
            raise Refused("the run does not listen", code="unavailable") from None
        except OSError as error:
            raise Refused(f"the run does not answer: {error}", code="unavailable") from None
    with sock:
        yield sock
