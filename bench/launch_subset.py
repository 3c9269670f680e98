"""The least that a sandbox can cost in pure Python: a small resident process that launches.

Run by launch.py with `python -I -S`, as the zygote is. For each line on standard input it starts
/bin/true once and writes the microseconds until that has ended: `spawn` by posix_spawn; `fork` by
fork and exec; `subset` in new mount, pid and user namespaces with 15 read-only binds, setuid and
no_new_privs; `each` is that with the binds made by each start. For `subset` the process lives in
mounts that have them, as the zygote does, and each start gets a copy of those.
"""

import os
import sys
import time

sys.path.insert(0, sys.argv[1])
from supervisor_unshare.linux import syscalls
from supervisor_unshare.linux.opened import opened

UID = 700_001
BINDS = sys.argv[2:]
TRUE, ENV = "/bin/true", {"PATH": "/usr/bin:/bin"}
FLAGS = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWUSER
READ_ONLY = syscalls.ATTR_RDONLY | syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV


def write(path: str, text: str) -> None:
    """Write a file of /proc."""
    with opened(os.open(path, os.O_WRONLY)) as file:
        os.write(file, text.encode())


def bind(paths: list[str] | tuple[()]) -> None:
    """Make paths read-only, each by a mount of its own."""
    for path in paths:
        with (
            opened(os.open(path, os.O_PATH | os.O_CLOEXEC)) as place,
            opened(syscalls.clone_tree(place, READ_ONLY)) as tree,
        ):
            syscalls.attach(tree, place)


def mounts() -> int:
    """Open the mount namespace of now."""
    return os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def spawn() -> int:
    """Give a child that was made by vfork and exec."""
    return os.posix_spawn(TRUE, [TRUE], ENV)


def fork() -> int:
    """Give a child that was made by fork and exec."""
    pid, pidfd = syscalls.clone(0)
    if pid == 0:
        os.execve(TRUE, [TRUE], ENV)
    os.close(pidfd)
    return pid


def subset() -> int:
    """Give a child in namespaces of its own, a copy of our binds among them."""
    return isolated(binds=())


def each() -> int:
    """Give such a child that makes the binds itself."""
    return isolated(binds=BINDS)


def isolated(*, binds: list[str] | tuple[()]) -> int:
    """Give a child in namespaces of its own that makes some binds."""
    syscalls.enter_mount_namespace(HOST if binds else BOUND)
    read, go = os.pipe()
    pid, pidfd = syscalls.clone(FLAGS)
    if pid == 0:
        confine(read, binds)
    os.close(read)
    for name in ("uid_map", "gid_map"):
        write(f"/proc/{pid}/{name}", f"0 0 1\n{UID} {UID} 1\n")
    os.write(go, b"x")
    os.close(go)
    os.close(pidfd)
    return pid


def confine(told: int, binds: list[str] | tuple[()]) -> None:
    """Be the child: binds, identity, exec."""
    try:
        syscalls.make_mounts_private()
        bind(binds)
        os.read(told, 1)
        os.setgroups([])
        os.setresgid(UID, UID, UID)
        os.setresuid(UID, UID, UID)
        syscalls.forbid_new_privileges()
        os.execve(TRUE, [TRUE], ENV)
    finally:
        os._exit(127)


HOST = mounts()
syscalls.new_mount_namespace()
syscalls.make_mounts_private()
bind(BINDS)
BOUND = mounts()
WAYS = {"spawn": spawn, "fork": fork, "subset": subset, "each": each}

for line in sys.stdin:
    way = WAYS[line.strip()]
    begun = time.perf_counter()
    _, status = os.waitpid(way(), 0)
    seconds = time.perf_counter() - begun
    if status:
        sys.exit(f"bench: {line.strip()} ended with status {status}")
    print(round(seconds * 1e6), flush=True)
