"""Be in another network namespace for a while, with the threads that trio keeps."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import trio

CLONE_NEWNET = 0x40000000
SOON = 20.0  # seconds


@contextmanager
def network_of(pid: int) -> Iterator[None]:
    """Be in a process's network: this thread, what it starts meanwhile, and trio's idle threads.

    Trio keeps the threads of blocking calls for some seconds, and starts processes from them.
    """
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        theirs = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            _enter(theirs)
            yield
        finally:
            _enter(own)
            os.close(theirs)
    finally:
        os.close(own)


def _enter(network: int) -> None:
    _setns(network)
    others = threading.active_count() - 1  # at least as many as are idle
    entered = threading.Barrier(others + 1, timeout=SOON)  # so that each has one call

    def enter() -> None:
        _setns(network)
        entered.wait()

    for _ in range(others):
        trio.lowlevel.start_thread_soon(enter, lambda outcome: None)
    entered.wait()


def _setns(network: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(network, CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
