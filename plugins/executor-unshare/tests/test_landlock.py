"""What each version of Landlock keeps a process from: a right is used where the kernel has it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from supervisor_unshare.linux import landlock, syscalls

FIRST, REFER, TRUNCATE, IOCTL = (1 << 13) - 1, 1 << 13, 1 << 14, 1 << 15
VERSIONS = range(1, 8)
HELD = {  # what a process cannot do, since which version
    "truncate what it may read": 3,
    "command a device": 5,
    "reach an abstract socket": 6,
    "signal a process outside": 6,
}
MOVES = "can move a file to another directory"  # which the first version lets nobody
PAGE = Path(__file__).parents[3] / "docs" / "explanation" / "sandbox.md"


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (1, struct.pack("Q", FIRST)),
        (2, struct.pack("Q", FIRST | REFER)),
        (3, struct.pack("Q", FIRST | REFER | TRUNCATE)),
        (4, struct.pack("QQ", FIRST | REFER | TRUNCATE, 0)),
        (5, struct.pack("QQ", FIRST | REFER | TRUNCATE | IOCTL, 0)),
        (6, struct.pack("QQQ", FIRST | REFER | TRUNCATE | IOCTL, 0, 3)),
        (7, struct.pack("QQQ", FIRST | REFER | TRUNCATE | IOCTL, 0, 3)),
        (9, struct.pack("QQQ", FIRST | REFER | TRUNCATE | IOCTL, 0, 3)),
    ],
)
def test_a_kernel_is_asked_for_all_that_its_version_knows_and_no_more(
    known: int, expected: bytes
) -> None:
    assert expected == landlock.ruleset(known)


@pytest.mark.parametrize("known", VERSIONS)
def test_what_is_refused_grows_with_the_version(known: int, tmp_path: Path) -> None:
    """A kernel that is asked for less keeps a process from as much as an older one."""
    if landlock.version() < known:
        pytest.skip(f"not on this kernel: Landlock {known}")
    for name in ("from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "file").touch()
    (tmp_path / "read").write_text("x")
    with socket.socket(socket.AF_UNIX) as listener:
        name = f"\0landlock-{os.getpid()}"
        listener.bind(name)
        listener.listen()
        refused = _in_a_child(known, tmp_path, name)
    expected = {what for what, since in HELD.items() if known >= since}
    assert expected | ({MOVES} if known < 2 else set()) == refused


def test_the_documentation_says_what_each_version_adds() -> None:
    _, _, after = PAGE.read_text().partition("<!-- begin landlock by version -->")
    table, _, _ = after.partition("<!-- end landlock by version -->")
    told = {int(line.split("|")[1]): line for line in table.strip().splitlines()[2:]}
    assert [*VERSIONS] == [*told]
    for what, since in {**HELD, MOVES: 2}.items():
        assert [since] == [number for number, line in told.items() if what in line]


def _in_a_child(known: int, top: Path, name: str) -> set[str]:
    """Give what a process that is confined as on an older kernel is refused."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with suppress(BaseException):
            os.write(write, json.dumps(_refused(known, top, name)).encode())
        os._exit(0)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        text = file.read()
    os.waitpid(pid, 0)
    return set(json.loads(text))


def _refused(known: int, top: Path, name: str) -> list[str]:
    syscalls.forbid_new_privileges()
    change, look = landlock.CHANGE, landlock.LOOK
    allowed = {"from": change, "to": change, "read": look}
    rules = [(str(top / path), rights) for path, rights in allowed.items()]
    landlock.confine(known, (*rules, ("/dev/null", look)))
    tried: dict[str, Callable[[], object]] = {
        "truncate what it may read": lambda: os.truncate(top / "read", 0),
        "command a device": _command_a_device,
        "reach an abstract socket": lambda: socket.socket(socket.AF_UNIX).connect(name),
        "signal a process outside": lambda: os.kill(os.getppid(), 0),
        MOVES: lambda: os.rename(top / "from" / "file", top / "to" / "file"),
    }
    found = []
    for what, act in tried.items():
        try:
            act()
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EXDEV):
                found.append(what)
            else:
                found.append(f"{what}: {error}")
    return found


def _command_a_device() -> None:
    fd = os.open("/dev/null", os.O_RDONLY)
    try:
        fcntl.ioctl(fd, termios.TCGETS, bytes(100))
    except OSError as error:
        if error.errno != errno.ENOTTY:  # it is no terminal, said the device
            raise
    finally:
        os.close(fd)
