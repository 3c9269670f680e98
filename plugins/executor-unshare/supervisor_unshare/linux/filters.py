"""The system calls that content may not make, as data, and the filter program that refuses them.

A list of what is denied, not of what is allowed: content may be any program. Each rule names its
reason; docs/explanation/sandbox.md shows them. What is refused answers as a kernel without the call
or a missing right would, so that programs fall back.
"""

from __future__ import annotations

import errno
import platform
import socket
import stat
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class Deny(Enum):
    """Which values of an argument's low 32 bits are denied; the kernel ignores the others."""

    ANY_BIT = "any of these bits"
    THESE = "these"
    OTHERS = "all but these"


@dataclass(frozen=True, kw_only=True)
class Argument:
    """The argument that decides: its index, what is denied, and what it is masked with before."""

    index: int
    deny: Deny
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Calls that are refused for one reason. argument: None refuses every such call."""

    calls: tuple[str, ...]
    reason: str
    errno: int = errno.EPERM
    argument: Argument | None = None


def _rule(
    calls: str, reason: str, *, number: int = errno.EPERM, argument: Argument | None = None
) -> Rule:
    return Rule(calls=tuple(calls.split()), reason=reason, errno=number, argument=argument)


_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag of clone; CLONE_NEWTIME is not one of clone's
_DEVICES = (stat.S_IFBLK, stat.S_IFCHR)
_FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)
_PERSONALITIES = (0, 0xFFFFFFFF)  # Linux as it is, and the question which one it is
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

RULES = (
    _rule("clone3", "its flags lie in memory, where a filter cannot look", number=errno.ENOSYS),
    _rule(
        "clone",
        "new namespaces open kernel code that only root could reach",
        argument=Argument(index=0, deny=Deny.ANY_BIT, values=(_NAMESPACES,)),
    ),
    _rule("unshare setns", "new namespaces open kernel code that only root could reach"),
    _rule(
        "mount umount2 pivot_root chroot mount_setattr open_tree open_tree_attr move_mount fsopen"
        " fsconfig fsmount fspick",
        "the view of files is made by the helper alone",
    ),
    _rule(
        "ptrace process_vm_readv process_vm_writev pidfd_getfd kcmp",
        "one process does not look into another",
    ),
    _rule("bpf perf_event_open userfaultfd", "a large part of the kernel's escapes began here"),
    _rule("io_uring_setup io_uring_enter io_uring_register", "it goes around this filter"),
    _rule("add_key request_key keyctl", "keys are not divided by sandbox"),
    _rule("name_to_handle_at open_by_handle_at", "opens files beyond the root"),
    _rule(
        "mknod",
        "a device node is a way to a device",
        argument=Argument(index=1, deny=Deny.THESE, values=_DEVICES, mask=0o170000),
    ),
    _rule(
        "mknodat",
        "a device node is a way to a device",
        argument=Argument(index=2, deny=Deny.THESE, values=_DEVICES, mask=0o170000),
    ),
    _rule(
        "socket socketpair",
        "families beside these were escapes (AF_ALG, AF_VSOCK, AF_PACKET)",
        number=errno.EAFNOSUPPORT,
        argument=Argument(index=0, deny=Deny.OTHERS, values=_FAMILIES),
    ),
    _rule(
        "ioctl",
        "types into the terminal of whoever started the server",
        argument=Argument(index=1, deny=Deny.THESE, values=(_TIOCSTI, _TIOCLINUX)),
    ),
    _rule(
        "personality",
        "switches the kernel's defences off",
        argument=Argument(index=0, deny=Deny.OTHERS, values=_PERSONALITIES),
    ),
    _rule(
        "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff"
        " acct quotactl quotactl_fd settimeofday clock_settime clock_adjtime sethostname"
        " setdomainname iopl ioperm vhangup syslog fanotify_init lookup_dcookie nfsservctl",
        "the machine belongs to its administrator",
    ),
)

# Besides, where content and server are one user and see the same processes and sockets.
ONE_USER = (
    Rule(
        calls=("socket",),
        reason="the links of core, gateway and helper are of this type, which content never needs",
        argument=Argument(index=1, deny=Deny.THESE, values=(socket.SOCK_SEQPACKET,), mask=0xF),
    ),
    Rule(
        calls=("prlimit64",),
        reason="one could take the server its files or its time",
        argument=Argument(index=0, deny=Deny.OTHERS, values=(0,)),
    ),
)

# Calls made since 2019 have one number everywhere.
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "clone3": 435, "pidfd_getfd": 438, "mount_setattr": 442, "quotactl_fd": 443,
    "open_tree_attr": 467,
}  # fmt: skip
NUMBERS: Mapping[str, Mapping[str, int]] = {
    "x86_64": {
        "ioctl": 16, "socket": 41, "socketpair": 53, "clone": 56, "ptrace": 101, "syslog": 103,
        "mknod": 133, "personality": 135, "vhangup": 153, "pivot_root": 155, "chroot": 161,
        "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167,
        "swapoff": 168, "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172,
        "ioperm": 173, "init_module": 175, "delete_module": 176, "quotactl": 179,
        "nfsservctl": 180, "lookup_dcookie": 212, "clock_settime": 227, "kexec_load": 246,
        "add_key": 248, "request_key": 249, "keyctl": 250, "mknodat": 259, "unshare": 272,
        "perf_event_open": 298, "fanotify_init": 300, "prlimit64": 302, "name_to_handle_at": 303,
        "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "kexec_file_load": 320,
        "bpf": 321, "userfaultfd": 323, **_COMMON,
    },
    "aarch64": {
        "lookup_dcookie": 18, "ioctl": 29, "mknodat": 33, "umount2": 39, "mount": 40,
        "pivot_root": 41, "nfsservctl": 42, "chroot": 51, "vhangup": 58, "quotactl": 60,
        "acct": 89, "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105,
        "delete_module": 106, "clock_settime": 112, "syslog": 116, "ptrace": 117, "reboot": 142,
        "sethostname": 161, "setdomainname": 162, "settimeofday": 170, "socket": 198,
        "socketpair": 199, "add_key": 217, "request_key": 218, "keyctl": 219, "clone": 220,
        "swapon": 224, "swapoff": 225, "perf_event_open": 241, "prlimit64": 261,
        "fanotify_init": 262,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266, "setns": 268,
        "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272, "finit_module": 273,
        "bpf": 280, "userfaultfd": 282, "kexec_file_load": 294, **_COMMON,
    },
}  # fmt: skip
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000  # the bit of numbers of a second, hardly tested set of calls on x86_64

_LOAD, _JUMP_EQUAL, _JUMP_NOT_LESS, _JUMP_BITS, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
_ALLOW, _KILL, _ERRNO, _ASK = 0x7FFF0000, 0x80000000, 0x00050000, 0x7FC00000

Instruction = tuple[int, int, int, int]  # code, jumps if true and if false, value


def program(
    machine: str | None = None, rules: Sequence[Rule] = RULES, *, asking: bool = False
) -> bytes:
    """Give the filter for a machine (this one), as the kernel wants it; b"" where none is known.

    Another set of system calls than the machine's own kills the process: its numbers differ.
    asking: calls that answer EPERM are told to a listener, which has to answer (see refusals).
    """
    machine = platform.machine() if machine is None else machine
    if machine not in NUMBERS:
        return b""
    instructions = list(_instructions(machine, rules, asking=asking))
    return b"".join(struct.pack("=HBBI", *each) for each in instructions)


def name_of(number: int, machine: str | None = None) -> str:
    """Give the name of a call that is refused, or its number."""
    table = NUMBERS.get(platform.machine() if machine is None else machine, {})
    return next((name for name, known in table.items() if known == number), str(number))


def _instructions(machine: str, rules: Sequence[Rule], *, asking: bool) -> Iterator[Instruction]:
    yield _LOAD, 0, 0, _ARCHITECTURE_AT
    yield _JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]
    yield _RETURN, 0, 0, _KILL
    yield _LOAD, 0, 0, _NUMBER_AT
    if machine == "x86_64":
        yield _JUMP_NOT_LESS, 0, 1, _X32
        yield _RETURN, 0, 0, _ERRNO | errno.ENOSYS
    for rule in rules:
        for call in rule.calls:
            if call in NUMBERS[machine]:
                block = _block(rule, asking=asking)
                yield _JUMP_EQUAL, 0, len(block), NUMBERS[machine][call]
                yield from block
    yield _RETURN, 0, 0, _ALLOW


def _block(rule: Rule, *, asking: bool) -> Sequence[Instruction]:
    """Give what decides once the number is right: it always ends in a return."""
    ask = asking and rule.errno == errno.EPERM
    deny = (_RETURN, 0, 0, _ASK if ask else _ERRNO | rule.errno)
    allow = (_RETURN, 0, 0, _ALLOW)
    argument = rule.argument
    if argument is None:
        return [deny]
    load: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENTS_AT + 8 * argument.index)]
    if argument.mask != 0xFFFFFFFF:
        load.append((_AND, 0, 0, argument.mask))
    found, other = (allow, deny) if argument.deny is Deny.OTHERS else (deny, allow)
    compare = _JUMP_BITS if argument.deny is Deny.ANY_BIT else _JUMP_EQUAL
    last = len(argument.values) - 1
    tests = [
        (compare, last - place + 1, 0, value & 0xFFFFFFFF)
        for place, value in enumerate(argument.values)
    ]
    return [*load, *tests, other, found]
