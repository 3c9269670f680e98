"""JSON messages with descriptors over SOCK_SEQPACKET Unix sockets. Standard library only.

Spoken between parent and children, core and helper, gateway and core. One message, one packet of at
most LIMIT bytes of JSON (an object with a "type"), with up to MAX_FDS descriptors beside it.
"""

from __future__ import annotations

import array
import json
import os
import socket
import struct
from typing import Any

VERSION = 1  # of all three links; each side speaks VERSION and VERSION - 1
LIMIT = 64 * 1024
MAX_FDS = 32

Message = dict[str, Any]

_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True).encode


class BadPacket(Exception):
    """The peer sent something that is not a message. Close the link and log it."""


def send(sock: socket.socket, message: Message, fds: tuple[int, ...] = ()) -> None:
    """Send one message. Raises ValueError where it is too large, OSError where the link is broken.

    On a non-blocking socket BlockingIOError means: nothing was sent, try again when writable. The
    descriptors are duplicated into the peer; the caller keeps and closes its own.
    """
    data = _encode(message).encode()
    if len(data) > LIMIT:
        raise ValueError(f"a message of {len(data)} bytes is over the limit of {LIMIT}")
    if len(fds) > MAX_FDS:
        raise ValueError(f"{len(fds)} descriptors are over the limit of {MAX_FDS}")
    ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    sock.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)


def receive(sock: socket.socket) -> tuple[Message, list[int]] | None:
    """Receive one message and its descriptors (close-on-exec, now the caller's); None at the end.

    Raises BadPacket for anything that is not a JSON object of text (no descriptor leaks),
    BlockingIOError where nothing is there yet, OSError where the link is broken.
    """
    data, ancillary, flags, _ = sock.recvmsg(
        LIMIT + 1, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
    )
    fds: list[int] = []
    for level, kind, payload in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
            fds.extend(numbers)
    try:
        if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
            raise BadPacket("a packet over the limit")
        if not data:
            if fds:
                raise BadPacket("descriptors without a message")
            return None
        try:
            message = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BadPacket(f"not JSON: {error}") from None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str):
            raise BadPacket("not an object with a type")
    except BadPacket:
        for fd in fds:
            os.close(fd)
        raise
    return message, fds


def common(theirs: object) -> int | None:
    """Give the version to speak with a peer that says hello in `theirs`, None where there is none.

    The newer side speaks as the older one does, so that each may be upgraded, or taken back, alone.
    """
    if not isinstance(theirs, int) or not VERSION - 1 <= theirs <= VERSION + 1:
        return None
    return min(theirs, VERSION)


def peer(sock: socket.socket) -> tuple[int, int, int]:
    """Give pid, uid and gid of whoever connected the other end of a Unix socket."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", data)
    return pid, uid, gid
