"""Tell whether a path lies on a network file system, by what statfs(2) says."""

from __future__ import annotations

import ctypes
import os

# statfs(2), linux/magic.h and the file systems' own headers
_NETWORK = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x01021997: "9p",
    0x73757245: "Coda",
    0x5346414F: "AFS",
    0x6B414653: "AFS",
    0x564C: "NCP",
    0x00C36400: "Ceph",
    0x0BD00BD0: "Lustre",
    0x47504653: "GPFS",
    0x19830326: "BeeGFS",
    0xAAD7AAEA: "PanFS",
    0x7461636F: "OCFS2",
    0x01161970: "GFS2",
    0x786F4256: "VirtualBox shared folder",
}
_FUSE = 0x65735546
_LOCAL_FUSE = frozenset({"fuseblk", "virtiofs", "fuse.fuse-overlayfs", "fuse.mergerfs"})
_LOCAL_FUSE_SUFFIXES = ("encfs", "gocryptfs", "bindfs", "ntfs-3g", "lxcfs")


def network_file_system(path: str) -> str | None:
    """Give the name of the network file system that the directory lies on; None for a local one.

    Raises OSError where the path cannot be looked at.
    """
    magic = _statfs_type(path)
    return classify(magic, _mounted_as(path) if magic == _FUSE else "")


def classify(magic: int, mounted_as: str = "") -> str | None:
    """Tell by statfs' type; for FUSE by the mount table's type as well.

    FUSE file systems are refused unless they are known to be local: a wrong guess loses a database.
    """
    if magic != _FUSE:
        return _NETWORK.get(magic)
    if mounted_as in _LOCAL_FUSE or mounted_as.endswith(_LOCAL_FUSE_SUFFIXES):
        return None
    return mounted_as or "FUSE"


def _statfs_type(path: str) -> int:
    # f_type is the first member, a long on every 64-bit Linux that we serve on
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(256)
    if libc.statfs(os.fsencode(path), buffer) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF


def _mounted_as(path: str) -> str:
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as table:
        for line in table:
            if line.split()[2] == wanted:
                return line.partition(" - ")[2].split()[0]
    return ""
