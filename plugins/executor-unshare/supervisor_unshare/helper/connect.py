"""Connect to what a run listens on: its Unix socket, or a port in a network of its own."""

from __future__ import annotations

import collections
import contextlib
import errno
import os
import selectors
import socket
from collections.abc import Callable, Iterator

from supervisor import SupervisorError, unixsocket
from supervisor.layout import SOCKET_NAME
from supervisor_unshare.helper.places import opened
from supervisor_unshare.helper.runs import LiveRun
from supervisor_unshare.linux.loop import Loop
from supervisor_unshare.network import doorman
from supervisor_unshare.requests.fields import Refused

_PATIENCE = 3.0  # seconds for a connection: its listener's queue may be full

Done = Callable[[socket.socket], None]
Fail = Callable[[Exception], None]
_Waiting = tuple[Done, Fail]


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


class Doors:
    """Ask the doormen of runs for sockets, in order; who asks is told once."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: dict[int, collections.deque[_Waiting]] = {}  # by the door's descriptor

    def ask(self, run: LiveRun, done: Done, fail: Fail) -> None:
        """Call done with a connected socket, which is closed afterwards, or fail with Refused."""
        waiting = self._waiting.get(run.door)
        if waiting is None:
            waiting = self._waiting[run.door] = collections.deque()
            self._loop.watch(run.door, lambda: self._answered(run.door))
        try:
            os.write(run.door, doorman.ASK)
        except OSError as error:
            fail(_unavailable(f"the run's connector does not answer: {error.strerror}"))
        else:
            waiting.append((done, fail))

    def forget(self, run: LiveRun) -> None:
        """Answer nobody of this run any more: it has ended. Before its door is closed."""
        if run.door == -1:
            return
        self._loop.unwatch(run.door)
        for _, fail in self._waiting.pop(run.door, ()):
            fail(_unavailable("the run has ended"))

    def _answered(self, door: int) -> None:
        with socket.socket(fileno=os.dup(door)) as link:
            data, fds, _, _ = socket.recv_fds(link, 1, 1)
        waiting = self._waiting[door]
        if not data:
            self._loop.unwatch(door)
            while waiting:
                waiting.popleft()[1](_unavailable("the run's connector has ended"))
        for fd in fds:
            sock = socket.socket(fileno=fd)
            if waiting:  # else an earlier helper asked, before it executed itself anew
                _Connecting(self._loop, sock, *waiting.popleft())
            else:
                sock.close()


class _Connecting:
    """Wait until one socket is connected."""

    def __init__(self, loop: Loop, sock: socket.socket, done: Done, fail: Fail) -> None:
        self._loop, self._sock, self._done, self._fail = loop, sock, done, fail
        self._over = False
        if (sock.family, sock.type) != (socket.AF_INET, socket.SOCK_STREAM):
            self._end(_unavailable("the run's connector gave something else than a connection"))
            return
        loop.watch(sock.fileno(), self._ready, selectors.EVENT_WRITE)
        loop.after(_PATIENCE, lambda: self._end(_unavailable("it does not accept connections")))

    def _ready(self) -> None:
        number = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number == errno.ECONNREFUSED:
            self._end(_unavailable("the run does not listen"))
        elif number:
            self._end(_unavailable(f"the run does not answer: {os.strerror(number)}"))
        else:
            self._end(None)

    def _end(self, error: Refused | None) -> None:
        if self._over:
            return
        self._over = True
        self._loop.unwatch(self._sock.fileno())
        with self._sock:
            if error is None:
                self._done(self._sock)
            else:
                self._fail(error)


def _unavailable(message: str) -> Refused:
    return Refused(message, code="unavailable")
