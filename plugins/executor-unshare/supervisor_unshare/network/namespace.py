"""The network of a sandbox: the host's, or a namespace of its own with its own loopback.

A namespace of its own has nothing but `lo` (egress none), or beside it an interface whose other end
is a process in the host's network that speaks for it (egress user: uplink.py). Which sockets of it
the gateway gets, the doorman makes (doorman.py).
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import struct
from typing import NamedTuple

from supervisor_unshare.linux import syscalls

_SIOCSIFFLAGS = 0x8914
_UP, _RUNNING = 0x1, 0x40
# Before the first clone: each page that a child writes to is copied first.
_LOOPBACK_UP = struct.pack("16sh14x", b"lo", _UP | _RUNNING)


class Network(NamedTuple):
    """What a sandbox gets. own: a namespace of its own; port: where content listens in it, or None.

    uplink: the command of the process that joins it to the host's network, () for none; resolvers:
    the host's resolv.conf, for that process; uid: whose it is. Never the content's: who owns the
    user namespace of a network has every right over it.
    """

    own: bool = False
    port: int | None = None
    uplink: tuple[str, ...] = ()
    resolvers: str = ""
    uid: int = -1


def new() -> None:
    """Go on in a network namespace of one's own, with `lo` up."""
    syscalls.new_network_namespace()
    try:
        loopback_up()
    except PermissionError:  # a container with CAP_SYS_ADMIN has no CAP_NET_ADMIN by default
        if os.geteuid() != 0:
            raise
        _enter_that_of_a_child()


def _enter_that_of_a_child() -> None:
    """Go on in a network namespace that a child has made, in a user namespace of its own.

    There it may switch `lo` on. The namespace belongs to our user, root, whom content never is.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    child, pidfd = syscalls.clone(0)
    if child == 0:
        try:
            syscalls.die_with_parent()
            syscalls.new_user_namespace()
            syscalls.new_network_namespace()
            loopback_up()
            os.write(write, b"1")
            signal.pause()
        finally:
            os._exit(1)
    os.close(write)
    try:
        if not os.read(read, 1):
            raise PermissionError(errno.EPERM, "lo cannot be switched on")
        syscalls.enter_network_namespace(pidfd)
    finally:
        os.close(read)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(pidfd)


def loopback_up() -> None:
    """Switch on `lo` of this network namespace."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, _LOOPBACK_UP)
