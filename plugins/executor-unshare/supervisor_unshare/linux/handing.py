"""Plain values with descriptors between helper, zygote and sandboxes, over SOCK_SEQPACKET pairs.

Both ends are the same code of the same installation and trust each other: helper and zygote always,
a sandbox until it has its job, after which it reads no more and has written nothing.
"""

from __future__ import annotations

import _socket
import marshal
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_LIMIT = 96 * 1024  # of a packet; more goes into a memfd
_MAX_FDS = 250  # beside one packet; the kernel's own limit is 253


def send(sock: _socket.socket, value: Any, fds: Sequence[int] = ()) -> None:
    """Send a value that marshal can write; the descriptors are duplicated.

    Raises OSError: the other end is gone, or E2BIG for more descriptors than travel at once.
    """
    data = marshal.dumps(value)
    if len(data) <= _LIMIT:
        _send(sock, b"v" + data, fds)
        return
    memory = os.memfd_create("value", os.MFD_CLOEXEC)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(data)
        _send(sock, b"m", [memory, *fds])
    finally:
        os.close(memory)


def receive(sock: _socket.socket) -> tuple[Any, list[int]] | None:
    """Wait for a value and its descriptors, the caller's now; None once the other end is gone."""
    space = _socket.CMSG_SPACE(_MAX_FDS * 4)
    data, ancillary, _, _ = sock.recvmsg(_LIMIT + 1, space, _socket.MSG_CMSG_CLOEXEC)
    if not data:
        return None
    fds: list[int] = []
    for _, _, numbers in ancillary:
        fds += struct.unpack(f"{len(numbers) // 4}i", numbers)
    if data[:1] == b"v":
        return marshal.loads(memoryview(data)[1:]), fds
    with os.fdopen(fds.pop(0), "rb") as file:
        file.seek(0)
        return marshal.loads(file.read()), fds


def _send(sock: _socket.socket, data: bytes, fds: Sequence[int]) -> None:
    if len(fds) > _MAX_FDS:
        raise OSError(7, f"{len(fds)} descriptors are more than {_MAX_FDS}")
    rights = struct.pack(f"{len(fds)}i", *fds)
    beside = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if fds else []
    sock.sendmsg([data], beside, _socket.MSG_NOSIGNAL)
