"""The process of ours in a sandbox that connects to the port on which its content listens.

It lives in the content's network namespace with the content's own rights, so that the helper never
has to enter there: for each packet on its door it answers a packet with one socket. It connects
without waiting; whoever gets the socket waits. It ends with the sandbox.
"""

from __future__ import annotations

import os
import socket
from typing import NoReturn

from supervisor_unshare.linux import syscalls

ASK = b"?"


def start(door: int, port: int) -> None:
    """Fork the doorman. door: a packet socket, closed here in the caller."""
    if os.fork() == 0:
        _serve(socket.socket(fileno=door), port)
    os.close(door)


def _serve(door: socket.socket, port: int) -> NoReturn:
    try:
        syscalls.close_all_but({door.fileno()})
        while door.recv(1):
            _answer(door, port)
    finally:
        os._exit(0)


def _answer(door: socket.socket, port: int) -> None:
    kind = socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect_ex(("127.0.0.1", port))  # its error stays in the socket
        socket.send_fds(door, [ASK], [sock.fileno()])
