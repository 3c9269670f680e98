"""Name the system calls that the sandbox has refused: init answers them, and remembers which.

The filter asks init about each call that it would answer with EPERM; init always answers EPERM, so
nothing is decided here that a content could influence. What is asked costs a switch of processes,
paid by the content itself: init lives in its groups. Calls that are let through cost nothing.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_NOTICE = struct.Struct("QIIi60x")  # struct seccomp_notif: id, pid, flags, then the call's number
_ANSWER = struct.Struct("QqiI")  # struct seccomp_notif_resp: id, value, error, flags
_RECEIVE, _SEND = 0xC0502100, 0xC0182101
_SIGNAL = 128  # bytes of struct signalfd_siginfo, the number first
_FLAGS = os.O_CLOEXEC | os.O_NONBLOCK
MOST = 16  # calls that are remembered

_libc = ctypes.CDLL(None, use_errno=True)


class Refusals:
    """The listener of a filter, beside the signals that init waits for, which must be blocked."""

    def __init__(
        self, listener: int, signals: Collection[int], told: Callable[[list[int]], None]
    ) -> None:
        self._listener = listener
        self._told = told
        self._calls: list[int] = []
        self._signals = _signal_descriptor(signals)
        self._ready = select.epoll()
        for fd in (listener, self._signals):
            self._ready.register(fd, select.EPOLLIN)

    def wait(self) -> int:
        """Answer calls until a signal has come; give its number."""
        while True:
            ready = dict(self._ready.poll())
            if self._listener in ready:
                self._answer()
            if self._signals in ready:
                return int.from_bytes(os.read(self._signals, _SIGNAL)[:4], "little")

    def _answer(self) -> None:
        notice = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, notice)
            number, _, _, call = _NOTICE.unpack(notice)
            answer = _ANSWER.pack(number, 0, -errno.EPERM, 0)
            fcntl.ioctl(self._listener, _SEND, answer)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINTR):  # whoever asked is gone
                raise
            return
        if call not in self._calls and len(self._calls) < MOST:
            self._calls.append(call)
            self._told(self._calls)


def _signal_descriptor(signals: Collection[int]) -> int:
    mask = sum(1 << (number - 1) for number in signals)
    fd = _libc.signalfd(-1, struct.pack("=Q120x", mask), _FLAGS)
    if fd == -1:
        raise OSError(ctypes.get_errno(), "signalfd")
    return int(fd)
