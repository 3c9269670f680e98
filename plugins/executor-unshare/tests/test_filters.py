"""The filter of system calls, run by a small interpreter, and its numbers against the headers."""

from __future__ import annotations

import errno
import re
import stat
import struct
from pathlib import Path

import pytest
from supervisor_unshare.linux.filters import NUMBERS, RULES, program

ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
ALLOWED, KILLED = 0x7FFF0000, 0x80000000
MACHINES = pytest.mark.parametrize("machine", sorted(NUMBERS))


def refused(number: int) -> int:
    return 0x00050000 | number


def run(code: bytes, data: bytes) -> int:
    """Do what the kernel does with a filter: give what it returns for one system call."""
    accumulator = place = 0
    while True:
        what, true, false, value = struct.unpack_from("=HBBI", code, place * 8)
        place += 1
        match what:
            case 0x20:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                place += true if accumulator == value else false
            case 0x35:
                place += true if accumulator >= value else false
            case 0x45:
                place += true if accumulator & value else false
            case 0x06:
                return int(value)
            case _:
                raise AssertionError(f"code {what:#x} at {place - 1}")


def decided(machine: str, call: str | int, *arguments: int) -> int:
    number = NUMBERS[machine][call] if isinstance(call, str) else call
    given = [argument & 0xFFFFFFFFFFFFFFFF for argument in (*arguments, *[0] * 6)][:6]
    data = struct.pack("=IIQ6Q", number, ARCHITECTURE[machine], 0, *given)
    return run(program(machine), data)


@MACHINES
def test_every_call_of_a_rule_without_an_argument_is_refused(machine: str) -> None:
    for rule in RULES:
        for call in rule.calls:
            if rule.argument is None and call in NUMBERS[machine]:
                assert refused(rule.errno) == decided(machine, call), call


@MACHINES
def test_all_other_calls_are_allowed(machine: str) -> None:
    named = set(NUMBERS[machine].values())
    for number in set(range(500)) - named:
        assert ALLOWED == decided(machine, number)


@MACHINES
@pytest.mark.parametrize(
    ("call", "arguments", "answer"),
    [
        ("clone", (17,), ALLOWED),  # fork
        ("clone", (0x3D0F00,), ALLOWED),  # a thread
        ("clone", (0x10000000 | 17,), refused(errno.EPERM)),
        ("clone", (0x40000000,), refused(errno.EPERM)),
        ("clone3", (), refused(errno.ENOSYS)),
        ("mknodat", (-100, 0, stat.S_IFIFO | 0o600), ALLOWED),
        ("mknodat", (-100, 0, stat.S_IFSOCK | 0o600), ALLOWED),
        ("mknodat", (-100, 0, 0o600), ALLOWED),
        ("mknodat", (-100, 0, stat.S_IFBLK | 0o600), refused(errno.EPERM)),
        ("mknodat", (-100, 0, stat.S_IFCHR | 0o600), refused(errno.EPERM)),
        ("ioctl", (0, 0x5401), ALLOWED),
        ("ioctl", (0, 0x5412), refused(errno.EPERM)),
        ("ioctl", (0, 0x1_0000_5412), refused(errno.EPERM)),
        ("ioctl", (0, 0x541C), refused(errno.EPERM)),
        ("socket", (1,), ALLOWED),
        ("socket", (2,), ALLOWED),
        ("socket", (10,), ALLOWED),
        ("socket", (16,), ALLOWED),
        ("socket", (38,), refused(errno.EAFNOSUPPORT)),
        ("socket", (0x1_0000_0000 | 38,), refused(errno.EAFNOSUPPORT)),
        ("socket", (0,), refused(errno.EAFNOSUPPORT)),
        ("personality", (0xFFFFFFFF,), ALLOWED),
        ("personality", (0,), ALLOWED),
        ("personality", (0x0040000,), refused(errno.EPERM)),
    ],
)
def test_an_argument_decides(
    machine: str, call: str, arguments: tuple[int, ...], answer: int
) -> None:
    assert answer == decided(machine, call, *arguments)


def test_calls_of_another_machine_end_the_process() -> None:
    data = struct.pack("=IIQ6Q", 39, 0x40000003, 0, *[0] * 6)  # 32 bits on x86
    assert KILLED == run(program("x86_64"), data)
    assert refused(errno.ENOSYS) == decided("x86_64", 0x40000000 | 39)
    assert b"" == program("riscv64")


@MACHINES
def test_numbers_are_those_of_the_kernels_headers(machine: str) -> None:
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip("needs the headers of Linux (linux-libc-dev)")
    names = r"#define __NR(?:3264)?_(\w+)\s+(\d+)"
    found = {name: int(number) for name, number in re.findall(names, header.read_text())}
    newer = {"open_tree_attr"}  # than Debian 12's headers
    wrong = {
        name: number
        for name, number in NUMBERS[machine].items()
        if found.get(name) != number and not (name in newer and name not in found)
    }
    assert {} == wrong
    known = {call for rule in RULES for call in rule.calls} & set(found)
    assert set() == known - set(NUMBERS[machine])  # a call that is named has its number
