"""A small world for networks: `unshare -n -m python world.py [--for-all | --as UID] COMMAND...`.

Runs the command on a host with one interface; behind its router, in a network namespace of its own,
lies an "internet". The machine's own interfaces are not touched, and all ends with the command.

host: 198.51.100.2; on its loopback 5432 and, at 127.0.0.53, a resolver for everything; 6000 on all
addresses. internet: 203.0.113.7, port 80. Whatever listens on TCP says where it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable

HOST, ROUTER, INTERNET = "198.51.100.2", "198.51.100.1", "203.0.113.7"
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def aside(work: Callable[[], None]) -> None:
    """Do it in a process that ends with this one (and with what it becomes)."""
    above = os.getpid()
    if os.fork() == 0:
        end_with(above)
        work()
        os._exit(0)


def end_with(above: int) -> None:
    """End when that process does. No death signal: it would come from another user then."""
    try:
        ended = os.pidfd_open(above)
    except ProcessLookupError:
        os._exit(0)

    def wait() -> None:
        select.select([ended], [], [])
        os._exit(0)

    threading.Thread(target=wait, daemon=True).start()


def ip(words: str) -> None:
    subprocess.run(["ip", *words.split()], check=True)


def listening(address: str, port: int) -> socket.socket:
    sock = socket.create_server((address, port))
    sock.set_inheritable(False)
    return sock


def says(listener: socket.socket, text: bytes) -> None:
    while True:
        with contextlib.suppress(OSError):
            sock, _ = listener.accept()
            sock.sendall(text)
            sock.close()


def answers_names(sock: socket.socket) -> None:
    """Answer every question for an IPv4 address with that of the internet."""
    while True:
        question, asker = sock.recvfrom(512)
        kind = question[-4:-2]
        found = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(INTERNET)
        head = question[:2] + b"\x81\x80\0\1" + struct.pack(">H", kind == b"\0\1") + b"\0" * 4
        end = question.index(b"\0", 12) + 5
        sock.sendto(head + question[12:end] + (found if kind == b"\0\1" else b""), asker)


def internet(ready: int, above: int) -> None:
    """Be the namespace behind the router."""
    if _libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare")
    end_with(above)
    os.write(ready, b"1")
    os.close(ready)
    signal.pause()


def build() -> None:
    ip("link set lo up")
    read, write = os.pipe()
    above = os.getpid()
    inside = os.fork()
    if inside == 0:
        internet(write, above)
    os.read(read, 1)
    ip(f"link add up0 type veth peer name in0 netns {inside}")
    ip(f"addr add {HOST}/24 dev up0")
    ip("link set up0 up")
    enter = f"nsenter -t {inside} -n"
    for words in (
        "link set lo up",
        f"addr add {ROUTER}/24 dev in0",
        f"addr add {INTERNET}/32 dev lo",
        "link set in0 up",
    ):
        subprocess.run([*enter.split(), "ip", *words.split()], check=True)
    ip(f"route add default via {ROUTER}")
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    beyond = os.open(f"/proc/{inside}/ns/net", os.O_RDONLY)
    _libc.setns(beyond, _CLONE_NEWNET)
    web = listening(INTERNET, 80)
    _libc.setns(home, _CLONE_NEWNET)
    for listener, text in (
        (web, b"internet"),
        (listening("127.0.0.1", 5432), b"loopback"),
        (listening("0.0.0.0", 6000), b"everywhere"),
    ):
        aside(lambda listener=listener, text=text: says(listener, text))  # type: ignore[misc]
    names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    names.bind(("127.0.0.53", 53))
    aside(lambda: answers_names(names))


def show_files() -> None:
    """Have a resolver on the loopback, and a device that anybody may open, as udev makes it."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "none", "/mnt"], check=True)
    with open("/mnt/resolv.conf", "w", encoding="ascii") as file:
        file.write("nameserver 127.0.0.53\noptions timeout:2\n")
    real = os.path.realpath("/etc/resolv.conf")
    subprocess.run(["mount", "--bind", "/mnt/resolv.conf", real], check=True)


def main(arguments: list[str]) -> None:
    build()
    show_files()
    if arguments[0] in ("--as", "--for-all"):
        subprocess.run(["mount", "-t", "tmpfs", "none", "/dev/net"], check=True)
        subprocess.run(["mknod", "-m", "666", "/dev/net/tun", "c", "10", "200"], check=True)
    if arguments[0] == "--for-all":
        arguments = arguments[1:]
    if arguments[0] == "--as":
        uid = int(arguments[1])
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        arguments = arguments[2:]
    os.execv(arguments[0], arguments)


if __name__ == "__main__":
    main(sys.argv[1:])
