"""The Unix sockets of RunDir: made once by the parent, handed to every generation of a child.

Owners and modes decide who may connect; whoever accepts checks the peer's uid as well.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass

from supervisor.errors import SupervisorError
from supervisor.parent.identity import Identities

_BACKLOG = 1024
_PATH_LIMIT = 107  # bytes of sun_path


@dataclass(frozen=True, kw_only=True, slots=True)
class UnixSocket:
    """A listening socket as it should be: who may connect are owner, group and `also` (a uid)."""

    name: str
    kind: socket.SocketKind
    uid: int
    gid: int
    also: int | None = None


def unix_sockets(who: Identities) -> tuple[UnixSocket, ...]:
    """Give the four sockets of a server and who may reach each.

    core.sock: core, administrators, gateway. link.sock and helper-connect.sock: the gateway's
    group. helper.sock: the core's group, in which nobody else is.
    """
    root, stream, packets = who.helper.uid, socket.SOCK_STREAM, socket.SOCK_SEQPACKET
    admin = who.core.gid if who.admin_gid is None else who.admin_gid
    also = None if who.rootless else who.gateway.uid
    return (
        UnixSocket(name="core", kind=stream, uid=who.core.uid, gid=admin, also=also),
        UnixSocket(name="link", kind=packets, uid=root, gid=who.gateway.gid),
        UnixSocket(name="helper", kind=packets, uid=root, gid=who.core.gid),
        UnixSocket(name="helper-connect", kind=packets, uid=root, gid=who.gateway.gid),
    )


def listen_unix(run_dir: str, want: UnixSocket) -> socket.socket:
    """Listen on RunDir/NAME.sock in place of whatever socket lies there (RunDir's lock is ours).

    Raises SupervisorError("run-dir-unusable").
    """
    path = os.path.join(run_dir, f"{want.name}.sock")
    if len(os.fsencode(path)) > _PATH_LIMIT:
        raise SupervisorError(
            "run-dir-unusable",
            f"the path {path} is too long for a Unix socket",
            hint="Name a shorter directory: [Server] RunDir.",
        )
    sock = socket.socket(socket.AF_UNIX, want.kind)
    try:
        if os.path.lexists(path) and stat.S_ISSOCK(os.lstat(path).st_mode):
            os.unlink(path)
        before = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(before)
        os.lchown(path, want.uid, want.gid)
        os.chmod(path, 0o660)
        if want.also is not None:
            _allow(path, want.also)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise SupervisorError(
            "run-dir-unusable", f"cannot listen on {path}: {error.strerror}"
        ) from None
    return sock


def remove(run_dir: str, who: Identities) -> None:
    """Remove the sockets at an orderly end, so that clients are refused at once."""
    for want in unix_sockets(who):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(run_dir, f"{want.name}.sock"))


_READ_WRITE, _NOTHING, _NO_ID = 6, 0, 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x10, 0x20


def _allow(path: str, uid: int) -> None:
    """Let one more user connect, by a POSIX access list; where there is none, everybody may try."""
    entries = (
        (_USER_OBJ, _READ_WRITE, _NO_ID),
        (_USER, _READ_WRITE, uid),
        (_GROUP_OBJ, _READ_WRITE, _NO_ID),
        (_MASK, _READ_WRITE, _NO_ID),
        (_OTHER, _NOTHING, _NO_ID),
    )
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        os.setxattr(path, "system.posix_acl_access", packed)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        os.chmod(path, 0o666)  # the core asks every peer's uid all the same
