"""Try to get out: one probe after another, each in a process of its own. Run inside a sandbox.

Input, as JSON in the first argument: `calls` (number of each system call), `secret`, `data`,
`top`, `disk`, `library`, `setuid`, `abstract`, `port`, `pid`: things of the host. Output: one JSON
object, probe -> "allowed" or why it was refused (an errno's name, or a word). A probe calls as
harmlessly as it can: with arguments that only come to be looked at once the right is there.
"""

import contextlib
import ctypes
import errno
import fcntl
import glob
import json
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

Probe = Callable[[], object]
HOST: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
REFUSALS = {
    errno.EPERM, errno.EACCES, errno.EROFS, errno.ENOSYS, errno.EAFNOSUPPORT, errno.EXDEV,
}  # fmt: skip
GONE = REFUSALS | {errno.ENOENT, errno.ESRCH, errno.ECONNREFUSED}

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Refused(Exception):
    pass


def call(name: str, *arguments: Any, refusals: set[int] = REFUSALS) -> int:
    """Make a system call; what is neither done nor refused was at least looked at."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    result = libc.syscall(ctypes.c_long(HOST["calls"][name]), *wide)
    number = ctypes.get_errno()
    if result == -1 and number in refusals:
        raise Refused(errno.errorcode[number])
    return int(result)


def opens(path: str, flags: int = os.O_RDONLY) -> None:
    os.close(os.open(path, flags))


def reads(path: str) -> None:
    with open(path, "rb") as file:
        file.read(1)


def makes(path: str) -> None:
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_EXCL))
    os.unlink(path)


def refuse(unless: bool, why: str) -> None:
    if not unless:
        raise Refused(why)


def clones(flag: int) -> None:
    if call("clone", flag | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os._exit(0)


def enters_mounts_of_init() -> None:
    namespace = os.open("/proc/1/ns/mnt", os.O_RDONLY)
    call("setns", namespace, 0x20000)


def takes_descriptor() -> None:
    call("pidfd_getfd", os.pidfd_open(os.getpid()), 0, 0)


def asks_for_handle() -> None:
    handle, mount = ctypes.create_string_buffer(8), ctypes.c_int()
    call("name_to_handle_at", -100, b"/", handle, ctypes.byref(mount), 0)


def opens_handle() -> None:
    handle = struct.pack("=Ii8s", 8, 1, b"\1" * 8)
    call("open_by_handle_at", -100, handle, 0)


def makes_device() -> None:
    path = "/tmp/probe-disk"
    os.mknod(path, 0o60600, os.makedev(8, 0))
    os.unlink(path)


def types(request: int) -> None:
    """Put a character into the terminal's input."""
    os.setsid()
    _, terminal = os.openpty()
    fcntl.ioctl(terminal, 0x540E, 0)  # TIOCSCTTY
    call("ioctl", terminal, request, b"x", refusals=REFUSALS | {errno.EIO})


def connects(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(5)
        client.connect(address)


def executes_setuid() -> None:
    found = subprocess.run([HOST["setuid"], "-u"], capture_output=True, text=True, check=True)
    refuse(found.stdout.strip() == "0", "its own uid")


def raises_files() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard + 1))


def scores(text: str) -> None:
    with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write(text)


def climbs() -> None:
    os.chdir("/tmp")
    os.chdir("../" * 40)
    os.listdir(HOST["top"].lstrip("/"))


def becomes_root() -> None:
    with unmapped():
        os.setuid(0)


@contextlib.contextmanager
def unmapped() -> Iterator[None]:
    """Count EINVAL as a refusal: there is no root in this user namespace."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise Refused("EINVAL") from None


def follows_link() -> None:
    path = "/tmp/probe-link"
    os.symlink("/etc/shadow", path)
    try:
        reads(path)
    finally:
        os.unlink(path)


def links() -> None:
    os.link("/etc/hosts", "/tmp/probe-hard")
    os.unlink("/tmp/probe-hard")


def counts_processes() -> None:
    seen = [name for name in os.listdir("/proc") if name.isdigit()]
    refuse(len(seen) > 3, "its own")


def gives_away() -> None:
    path = "/tmp/probe-own"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
    try:
        with unmapped():
            os.chown(path, 0, 0)
    finally:
        os.unlink(path)


def opens_group() -> None:
    groups = glob.glob("/sys/fs/cgroup/cgroup.procs") + glob.glob("/sys/fs/cgroup/*/cgroup.procs")
    opens(groups[0] if groups else "/sys/fs/cgroup/cgroup.procs", os.O_WRONLY)


def executes_from_memory() -> None:
    path = "/dev/shm/probe-program"
    with open(path, "w", encoding="ascii") as file:
        file.write("#!/bin/sh\n")
    os.chmod(path, 0o755)
    try:
        subprocess.run([path], check=True)
    finally:
        os.unlink(path)


def socket_of(family: int, kind: int = socket.SOCK_STREAM, protocol: int = 0) -> None:
    with contextlib.suppress(OverflowError):
        socket.socket(family, kind, protocol).close()


ATTRIBUTES = bytes(32)
PROBES: dict[int, tuple[str, Probe]] = {
    1: ("read a secret of the database", lambda: reads(HOST["secret"])),
    2: ("list the data directory", lambda: os.listdir(HOST["data"])),
    3: ("list /root", lambda: os.listdir("/root")),
    4: ("list another directory of the host", lambda: os.listdir(HOST["top"])),
    5: ("read /etc/shadow", lambda: reads("/etc/shadow")),
    6: ("write /etc", lambda: makes("/etc/probe-x")),
    7: ("write /usr", lambda: makes("/usr/probe-x")),
    8: ("write /", lambda: makes("/probe-x")),
    9: ("write a library", lambda: makes(HOST["library"] + "/probe-x")),
    10: ("mount a tmpfs", lambda: call("mount", b"none", b"/tmp", b"nosuchfs", 0, 0)),
    11: ("umount /tmp", lambda: call("umount2", b"/tmp", 4)),
    12: ("remount /etc", lambda: call("mount", 0, b"/etc", 0, 32 | 4096, 0)),
    13: ("mount_setattr", lambda: call("mount_setattr", -100, b"/", 0, ATTRIBUTES, 32)),
    14: ("open_tree", lambda: call("open_tree", -100, b"/", 1)),
    15: ("fsopen", lambda: call("fsopen", b"tmpfs", 0)),
    16: ("pivot_root", lambda: call("pivot_root", b"/nowhere", b"/nowhere")),
    17: ("chroot", lambda: call("chroot", b"/")),
    18: ("unshare a user namespace", lambda: call("unshare", 0x10000000)),
    19: ("unshare a mount namespace", lambda: call("unshare", 0x20000)),
    20: ("clone a user namespace", lambda: clones(0x10000000)),
    21: ("clone a pid namespace", lambda: clones(0x20000000)),
    22: ("clone3", lambda: call("clone3", 0, 0)),
    23: ("a call of x32", lambda: call("x32 getpid")),
    24: ("enter the mounts of pid 1", enters_mounts_of_init),
    25: ("ptrace", lambda: call("ptrace", 0, 0, 0, 0)),
    26: ("process_vm_readv", lambda: call("process_vm_readv", os.getpid(), 0, 0, 0, 0, 0)),
    27: ("pidfd_getfd", takes_descriptor),
    28: ("bpf", lambda: call("bpf", 5, 0, 0)),
    29: ("perf_event_open", lambda: call("perf_event_open", 0, 0, -1, -1, 0)),
    30: ("userfaultfd", lambda: call("userfaultfd", 1)),
    31: ("io_uring", lambda: call("io_uring_setup", 0, 0)),
    32: ("keyctl", lambda: call("keyctl", 0, -3, 0)),
    33: ("add_key", lambda: call("add_key", b"user", b"probe", b"x", 1, -2)),
    34: ("syslog", lambda: call("syslog", 10, 0, 0)),
    35: ("kexec_load", lambda: call("kexec_load", 0, 0, 0, 0xFFFF)),
    36: ("init_module", lambda: call("init_module", 0, 0, b"")),
    37: ("reboot", lambda: call("reboot", 0, 0, 0, 0)),
    38: ("settimeofday", lambda: call("settimeofday", 0, 0)),
    39: ("sethostname", lambda: call("sethostname", 0, -1)),
    40: ("swapon", lambda: call("swapon", b"/nowhere", 0)),
    41: ("quotactl", lambda: call("quotactl", 0x800001 << 8, 0, 0, 0)),
    42: ("name_to_handle_at", asks_for_handle),
    43: ("open_by_handle_at", opens_handle),
    44: ("make a block device", makes_device),
    45: ("acct", lambda: call("acct", b"/nowhere")),
    46: ("personality", lambda: call("personality", 0x0040000)),
    47: ("TIOCSTI", lambda: types(0x5412)),
    48: ("TIOCSTI with high bits", lambda: types(0x1_0000_5412)),
    49: ("TIOCLINUX", lambda: types(0x541C)),
    50: ("AF_ALG", lambda: socket_of(38, socket.SOCK_SEQPACKET)),
    51: ("AF_VSOCK", lambda: socket_of(40)),
    52: ("AF_PACKET", lambda: socket_of(17, socket.SOCK_RAW)),
    53: ("AF_KEY", lambda: socket_of(15, socket.SOCK_RAW, 2)),
    54: ("a raw IP socket", lambda: socket_of(socket.AF_INET, socket.SOCK_RAW, 1)),
    55: ("an abstract socket of the host", lambda: connects(socket.AF_UNIX, HOST["abstract"])),
    56: (
        "a TCP port of the host's loopback",
        lambda: connects(socket.AF_INET, ("127.0.0.1", HOST["port"])),
    ),
    57: ("signal a process of the host", lambda: os.kill(HOST["pid"], 0)),
    58: ("the root of pid 1", lambda: os.listdir("/proc/1/root")),
    59: ("the memory of pid 1", lambda: opens("/proc/1/mem")),
    60: ("/proc/kcore", lambda: opens("/proc/kcore")),
    61: ("/proc/sysrq-trigger", lambda: opens("/proc/sysrq-trigger", os.O_WRONLY)),
    62: ("write /proc/sys/vm", lambda: opens("/proc/sys/vm/swappiness", os.O_WRONLY)),
    63: ("write core_pattern", lambda: opens("/proc/sys/kernel/core_pattern", os.O_WRONLY)),
    64: ("/sys", lambda: os.listdir("/sys")),
    65: ("/dev/mem", lambda: opens("/dev/mem")),
    66: ("/dev/kmsg", lambda: opens("/dev/kmsg")),
    67: ("a disk", lambda: opens(HOST["disk"])),
    68: ("/dev/kvm", lambda: opens("/dev/kvm")),
    69: ("execute a set-uid program", executes_setuid),
    70: ("setuid(0)", becomes_root),
    71: ("setgroups", lambda: os.setgroups([0])),
    72: ("raise the limit of open files", raises_files),
    73: ("lower oom_score_adj", lambda: scores("-10")),
    74: ("set oom_score_adj back", lambda: scores("0")),
    75: ("nice -5", lambda: os.nice(-5)),
    76: ("a secret in the environment", lambda: refuse("PROBE_SECRET" in os.environ, "none")),
    77: ("climb out of the root", climbs),
    78: ("a link to /etc/shadow", follows_link),
    79: ("a hard link to /etc/hosts", links),
    80: ("see other processes", counts_processes),
    81: (
        "dump core",
        lambda: refuse(resource.getrlimit(resource.RLIMIT_CORE)[1] != 0, "limit 0"),
    ),
    82: ("give a file to root", gives_away),
    83: ("execute from /dev/shm", executes_from_memory),
    84: ("write a control group", opens_group),
}


def outcome(probe: Probe) -> str:
    try:
        probe()
    except Refused as refusal:
        return str(refusal)
    except (OSError, ValueError) as error:  # ValueError: what Python makes of a refused limit
        number = getattr(error, "errno", None) or errno.EPERM
        return errno.errorcode[number] if number in GONE else "allowed"
    return "allowed"


def in_a_process_of_its_own(probe: Probe) -> str:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(write, outcome(probe).encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="ascii") as file:
        told = file.read()
    _, status = os.waitpid(pid, 0)
    return told or f"killed by {os.waitstatus_to_exitcode(status)}"


def main() -> None:
    found = {number: in_a_process_of_its_own(probe) for number, (_, probe) in PROBES.items()}
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
