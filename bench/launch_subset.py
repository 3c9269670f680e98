"""The least that a sandbox can cost in pure Python: a small resident process that launches.

Run by launch.py with `python -I -S`, as the zygote is. For each line on standard input it starts
/bin/true once and writes the microseconds until that has ended: `spawn` by posix_spawn; `fork` by
fork and exec; `subset` in new mount, pid and user namespaces with 15 read-only binds, setuid and
no_new_privs; `each` is that with the binds made by each start. For `subset` the process lives in a
root that shows the binds and nothing else, as the zygote does, and each start gets a copy of that.

After a fork every page that either side touches costs a fault, some 2 µs here. So all calls of the
child are prepared before the first start, down to what C is given.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
import time

sys.path.insert(0, sys.argv[1])
from supervisor_unshare.linux import syscalls
from supervisor_unshare.linux.opened import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Call = tuple[Any, ...]  # number and arguments, as C types

UID = 700_001
BINDS = sys.argv[2:]
TRUE, ENV = "/bin/true", {"PATH": "/usr/bin:/bin"}
NUMBERS = {
    "x86_64": {
        "read": 0, "clone": 56, "execve": 59, "setgroups": 116, "setresuid": 117,
        "setresgid": 119, "prctl": 157, "mount": 165, "mount_setattr": 442,
    },
    "aarch64": {
        "mount": 40, "read": 63, "setresuid": 147, "setresgid": 149, "setgroups": 159,
        "prctl": 167, "clone": 220, "execve": 221, "mount_setattr": 442,
    },
}[os.uname().machine]  # fmt: skip
NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUSER
READ_ONLY = syscalls.ATTR_RDONLY | syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV
SIGKILL, SIGCHLD = 9, 17
MS_BIND, MS_REC, MS_PRIVATE = 0x1000, 0x4000, 1 << 18
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38
AT_FDCWD, AT_RECURSIVE = -100, 0x8000

libc = ctypes.PyDLL(None)
libc.syscall.restype = ctypes.c_long


def call(name: str, *arguments: object) -> Call:
    """Prepare a system call."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in (NUMBERS[name], *arguments)]
    return tuple(ctypes.c_char_p(a) if isinstance(a, bytes) else a for a in wide)


def strings(*texts: str) -> ctypes.Array[ctypes.c_char_p]:
    """Make what C calls a char *[]."""
    return (ctypes.c_char_p * (len(texts) + 1))(*map(os.fsencode, texts), None)


def bound(path: str) -> list[Call]:
    """Prepare the calls that bind a path to itself, read-only."""
    place, attributes = os.fsencode(path), struct.pack("4Q", READ_ONLY, 0, 0, 0)
    return [
        call("mount", place, place, None, MS_BIND | MS_REC, None),
        call("mount_setattr", AT_FDCWD, place, AT_RECURSIVE, attributes, len(attributes)),
    ]


TOLD, GO = os.pipe()
FORK = call("clone", SIGCHLD, 0, 0, 0, 0)
ISOLATE = call("clone", NAMESPACES | SIGCHLD, 0, 0, 0, 0)
DIE_WITH_PARENT = call("prctl", PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
EXEC = call("execve", TRUE.encode(), strings(TRUE), strings(*map("=".join, ENV.items())))
OWN_MOUNTS = [DIE_WITH_PARENT, call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)]
IDENTITY = [
    call("read", TOLD, ctypes.create_string_buffer(1), 1),  # until the ids are mapped
    call("setgroups", 0, None),
    call("setresgid", UID, UID, UID),
    call("setresuid", UID, UID, UID),
    DIE_WITH_PARENT,  # the change of uid has cleared it
    call("prctl", PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
    EXEC,
]
BINDING = [one for path in BINDS for one in bound(path)]
COPIED, MADE = (*OWN_MOUNTS, *IDENTITY), (*OWN_MOUNTS, *BINDING, *IDENTITY)
IDS = b"0 0 1\n%d %d 1\n" % (UID, UID)


def spawn() -> int:
    """Give a child that was made by vfork and exec."""
    return os.posix_spawn(TRUE, [TRUE], ENV)


def fork() -> int:
    """Give a child that was made by fork and exec."""
    return cloned(FORK, (EXEC,))


def subset() -> int:
    """Give a child in namespaces of its own, a copy of our root among them."""
    return isolated(COPIED)


def each() -> int:
    """Give such a child that makes the binds itself."""
    return isolated(MADE)


def isolated(calls: Iterable[Call]) -> int:
    """Give a child in namespaces of its own."""
    pid = cloned(ISOLATE, calls)
    for name in ("uid_map", "gid_map"):
        with opened(os.open(f"{pid}/{name}", os.O_WRONLY, dir_fd=PROC)) as file:
            os.write(file, IDS)
    os.write(GO, b"x")
    return pid


def cloned(clone: Call, calls: Iterable[Call]) -> int:
    """Give a child that makes some calls, of which the last is its exec; none may fail."""
    pid: int = libc.syscall(*clone)
    if pid == 0:
        for one in calls:
            if libc.syscall(*one) == -1:
                os._exit(127)
    if pid == -1:
        sys.exit("bench: there is no child")
    return pid


def enter_bound_root() -> None:
    """Go on in mounts that show the binds, read-only, and nothing else."""
    syscalls.new_mount_namespace()
    syscalls.make_mounts_private()
    trees = [syscalls.clone_tree(place(path), READ_ONLY) for path in BINDS]
    root = syscalls.new_filesystem("tmpfs", {"mode": "755"}, 0)
    syscalls.attach(root, place("/tmp"))
    for path, tree in zip(BINDS, trees, strict=True):
        os.makedirs("/tmp" + path, exist_ok=True)
        syscalls.attach(tree, place("/tmp" + path))
    syscalls.enter_root(root)


def place(path: str) -> int:
    """Open a place to mount from or on."""
    return os.open(path, os.O_PATH | os.O_CLOEXEC)


def mounts() -> int:
    """Open the mount namespace of now."""
    return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


PROC, HOST = place("/proc"), mounts()
enter_bound_root()
BOUND = os.open("self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=PROC)
WAYS = {
    "spawn": (HOST, spawn),
    "fork": (HOST, fork),
    "subset": (BOUND, subset),
    "each": (HOST, each),
}

for line in sys.stdin:
    where, way = WAYS[line.strip()]
    syscalls.enter_mount_namespace(where)
    begun = time.perf_counter()
    _, status = os.waitpid(way(), 0)
    seconds = time.perf_counter() - begun
    if status:
        sys.exit(f"bench: {line.strip()} ended with status {status}")
    print(round(seconds * 1e6), flush=True)
