"""Peer: who is at the other end of a Unix connection, as the kernel says it."""

from __future__ import annotations

import socket
import struct

import attrs

_CREDENTIALS = struct.Struct("3i")
_SO_PEERGROUPS = 59  # Linux 4.13; Python 3.11 has no name for it
_MOST_GROUPS = 256  # getsockopt of Python gives no more bytes


@attrs.frozen(kw_only=True)
class Peer:
    """A process as it was when it connected. groups are its primary and supplementary groups."""

    pid: int
    uid: int
    gid: int
    groups: frozenset[int]


def read_peer(connection: socket.socket) -> Peer:
    """Ask the kernel who connected. Raises OSError where the socket is not a Unix socket."""
    size = _CREDENTIALS.size
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    return Peer(pid=pid, uid=uid, gid=gid, groups=_groups(connection) | {gid})


def _groups(connection: socket.socket) -> frozenset[int]:
    # The process's own groups: asking the name service could block, and could know others.
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, 4 * _MOST_GROUPS)
    except OSError:  # more groups than that, or an old kernel: the primary group still counts
        return frozenset()
    return frozenset(struct.unpack(f"{len(raw) // 4}I", raw))
