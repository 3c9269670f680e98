"""Try for `doctor` whether the tun device works where pasta will use it: not every host lets it."""

from __future__ import annotations

import fcntl
import os
import struct
from typing import NoReturn

from supervisor_unshare.linux import syscalls
from supervisor_unshare.network import uplink
from supervisor_unshare.requests.rules import Rules
from supervisor_unshare.sandbox import entry

_TUNSETIFF = 0x400454CA
_TUN_WITHOUT_HEADER = struct.pack("16sH22x", b"trial", 0x1001)


def refusal(rules: Rules) -> str:
    """Give the step that this host refuses and why, "" where it refuses none."""
    read, write = os.pipe2(os.O_CLOEXEC)
    ids = (os.geteuid(), os.getegid())
    flags = syscalls.CLONE_NEWNS | (syscalls.CLONE_NEWUSER if rules.rootless else 0)
    try:
        pid, pidfd = syscalls.clone(flags)
    except OSError as error:
        os.close(read)
        os.close(write)
        return f"clone: {error.strerror}"
    if pid == 0:
        _child(rules, ids, write)
    os.close(pidfd)
    os.close(write)
    with open(read, encoding="utf-8", errors="replace") as file:
        said = file.read()
    os.waitpid(pid, 0)
    return said


def _child(rules: Rules, ids: tuple[int, int], write: int) -> NoReturn:
    step = "mounts"
    try:
        syscalls.die_with_parent()
        if rules.rootless:
            entry.map_own_ids(*ids)
        syscalls.make_mounts_private()
        uplink.show_host_files("", uplink.tun_tree())
        step = "network"
        uplink.new_network(rules.network_uid)
        step = uplink.TUN
        device = os.open(uplink.TUN, os.O_RDWR | os.O_CLOEXEC)
        fcntl.ioctl(device, _TUNSETIFF, _TUN_WITHOUT_HEADER)
    except OSError as error:
        os.write(write, f"{step}: {error.strerror}".encode())
    finally:
        os._exit(0)
