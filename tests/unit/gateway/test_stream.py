"""A stream knows what waits to be read, and gives up a peer that acknowledges nothing."""

from __future__ import annotations

import os
import socket
from typing import Any, cast

from supervisor.gateway.loop import Loop
from supervisor.gateway.stream import Stream
from supervisor.log import Log


def stream(sock: socket.socket) -> Stream:
    sock.setblocking(False)
    loop = Loop(Log("test", fd=os.open(os.devnull, os.O_WRONLY)))
    return Stream(loop, sock, cast(Any, None))


def test_unread_bytes_are_seen_and_stay() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        one = stream(ours)
        assert not one.has_input()
        theirs.sendall(b"GET")
        assert one.has_input()
        assert b"GET" == ours.recv(10)
        theirs.close()
        assert not one.has_input()  # an end is nothing to answer


def test_a_peer_over_tcp_is_given_up_and_one_on_this_machine_needs_not() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
    ):
        stream(client).give_up_after(28_000)
        assert 28_000 == client.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        stream(ours).give_up_after(28_000)
