"""A plain poll loop: descriptors, timers, work in a forked child, packet links. One thread."""

from __future__ import annotations

import collections
import contextlib
import functools
import heapq
import itertools
import json
import os
import selectors
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from supervisor import packets
from supervisor_unshare.linux import syscalls

_MAX_QUEUE = 10_000
_MAX_UNREAD = 64  # answers, after which a peer is not read until it reads
_AT_ONCE = 4  # forked children at work for what others ask
_MAX_WAITING = 256  # of those that others ask for

Work = Callable[[], None]
Done = Callable[[str], None]


class Full(Exception):
    """So much is under way already that nothing more is taken on."""


class Loop:
    """Call back when a descriptor is ready or a time has come, until stop().

    A callback that raises is told to `failed` and its descriptor is watched no more: a defect in
    one must not end the others.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._stopped = False
        self._at_work = 0  # forked children
        self._asked = 0  # of them, for others
        self._waiting: collections.deque[tuple[Work, Done]] = collections.deque()

    def watch(self, fd: int, ready: Callable[[], None], events: int = selectors.EVENT_READ) -> None:
        """Call `ready` whenever the descriptor is; replaces an earlier callback."""
        if fd in self._selector.get_map():
            self._selector.modify(fd, events, ready)
        else:
            self._selector.register(fd, events, ready)

    def unwatch(self, fd: int) -> None:
        """Watch a descriptor no more; before it is closed."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(fd)

    def after(self, seconds: float, due: Callable[[], None]) -> None:
        """Call `due` once, some seconds from now."""
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), due))

    def stop(self) -> None:
        """Let run() return after the callback that is under way."""
        self._stopped = True

    def run(self) -> None:
        """Serve until stop()."""
        while not self._stopped:
            timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
            for key, _ in self._selector.select(timeout):
                # An earlier callback of this round may have closed it.
                present = self._selector.get_map().get(key.fd) is key and not self._stopped
                if present and not self._called(key.data):
                    self.unwatch(key.fd)
            while not self._stopped and self._timers and self._timers[0][0] <= time.monotonic():
                self._called(heapq.heappop(self._timers)[2])

    def _called(self, callback: Callable[[], None]) -> bool:
        try:
            callback()
        except Exception as error:
            self._failed(error)
            return False
        return True

    @property
    def asides(self) -> int:
        """How much is being done aside, or waits for that."""
        return self._at_work + len(self._waiting)

    def aside(self, work: Work, done: Done) -> None:
        """Do what may take long (removing trees) in a forked child, then call done(error or "").

        Raises OSError where none can be forked.
        """
        self._fork(work, done)

    def aside_in_turn(self, work: Work, done: Done) -> None:
        """Do the same for somebody who may ask too much: few at once, the others in their turn.

        Raises Full where too many wait.
        """
        if len(self._waiting) >= _MAX_WAITING:
            raise Full(f"{self.asides} tasks of this kind are under way")
        self._waiting.append((work, done))
        self._take_turns()

    def _take_turns(self) -> None:
        while self._waiting and self._asked < _AT_ONCE:
            work, done = self._waiting.popleft()
            try:
                self._fork(work, functools.partial(self._had_its_turn, done))
            except OSError as error:
                done(f"no process can be forked for it: {error}")
            else:
                self._asked += 1

    def _had_its_turn(self, done: Done, error: str) -> None:
        self._asked -= 1
        self.after(0.0, self._take_turns)
        done(error)

    def _fork(self, work: Work, done: Done) -> None:
        read, write = os.pipe2(os.O_CLOEXEC)
        with contextlib.ExitStack() as undo:
            undo.callback(os.close, read)
            undo.callback(os.close, write)
            pid = os.fork()
            undo.pop_all()
        if pid == 0:
            _work(work, write)
        os.close(write)
        self._at_work += 1
        said = b""

        def ready() -> None:
            nonlocal said
            data = os.read(read, 4096)
            said += data
            if not data:
                self.unwatch(read)
                os.close(read)
                _, status = os.waitpid(pid, 0)
                self._at_work -= 1
                done(said.decode() or (f"the child ended with status {status}" if status else ""))

        self.watch(read, ready)


def _work(work: Callable[[], None], write: int) -> NoReturn:
    try:
        syscalls.die_with_parent()
        work()
    except BaseException as error:
        os.write(write, (str(error) or type(error).__name__).encode(errors="replace")[:4000])
    finally:
        os._exit(0)


class Link:
    """A connected packet socket with a queue, so that a slow peer never holds up the loop.

    A message over the packet limit travels in a memfd: the packet says {"type", "id", "memfd":
    true} and carries its descriptor. `closed` is called once, when the peer is gone or misbehaves.
    """

    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        received: Callable[[packets.Message], None],
        closed: Callable[[str], None],
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._received = received
        self._closed = closed
        self._queue: collections.deque[tuple[packets.Message, tuple[int, ...]]] = (
            collections.deque()
        )
        self.open = True
        self.given: list[int] = []  # with the message being received; what is left is closed
        sock.setblocking(False)
        loop.watch(sock.fileno(), self._ready)

    def take(self) -> None:
        """Take the next message now, if one has come: before whatever else is ready."""
        if self.open:
            self._ready()

    def send(self, message: packets.Message, fds: tuple[int, ...] = ()) -> None:
        """Send or queue a message. The descriptors are duplicated; the caller keeps its own."""
        if not self.open:
            return
        if len(self._queue) >= _MAX_QUEUE:
            self.close("the peer does not read")
            return
        self._queue.append(_packed(message, tuple(os.dup(fd) for fd in fds)))
        self._flush()

    def close(self, reason: str) -> None:
        """Close the link and tell; idempotent."""
        if not self.open:
            return
        self.open = False
        self._loop.unwatch(self._sock.fileno())
        self._sock.close()
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()
        self._closed(reason)

    def _flush(self) -> None:
        while self._queue:
            message, fds = self._queue[0]
            try:
                packets.send(self._sock, message, fds)
            except BlockingIOError:
                break
            except OSError as error:
                self.close(str(error))
                return
            self._queue.popleft()
            _close_all(fds)
        reads = selectors.EVENT_READ if len(self._queue) < _MAX_UNREAD else 0
        events = reads | (selectors.EVENT_WRITE if self._queue else 0)
        self._loop.watch(self._sock.fileno(), self._ready, events)

    def _ready(self) -> None:
        self._flush()
        if not self.open or len(self._queue) >= _MAX_UNREAD:
            return
        try:
            packet = packets.receive(self._sock)
        except BlockingIOError:
            return
        except (packets.BadPacket, OSError) as error:
            self.close(str(error))
            return
        if packet is None:
            self.close("")
            return
        message, self.given = packet
        try:
            self._received(message)
        finally:
            _close_all(tuple(self.given))
            self.given = []


def _packed(
    message: packets.Message, fds: tuple[int, ...]
) -> tuple[packets.Message, tuple[int, ...]]:
    data = json.dumps(message, separators=(",", ":")).encode()
    if len(data) <= packets.LIMIT:
        return message, fds
    memory = os.memfd_create("message", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(memory), "wb") as file:
        file.write(data)
    return {"type": message["type"], "id": message.get("id"), "memfd": True}, (memory, *fds)


def _close_all(fds: tuple[int, ...]) -> None:
    for fd in fds:
        os.close(fd)
