from __future__ import annotations

import os
import socket

import pytest

from supervisor.errors import SupervisorError
from supervisor.parent import ports
from supervisor.settings import Listen


def test_a_loopback_address_is_listened_on_alone() -> None:
    with ports.listen_tcp(Listen(host="127.0.0.1", port=0)) as sock:
        assert "127.0.0.1" == sock.getsockname()[0]
        socket.create_connection(sock.getsockname()).close()


def test_no_host_means_ipv6_and_ipv4() -> None:
    with ports.listen_tcp(Listen(host="", port=0)) as sock:
        port = sock.getsockname()[1]
        for host in ("127.0.0.1", "::1") if sock.family == socket.AF_INET6 else ("127.0.0.1",):
            socket.create_connection((host, port)).close()


def test_listening_sockets_do_not_leak_into_other_programs() -> None:
    with ports.listen_tcp(Listen(host="127.0.0.1", port=0)) as sock:
        assert not sock.get_inheritable()


def test_a_port_in_use_is_refused_with_its_holder_and_nothing_stays_open() -> None:
    with socket.socket() as holder, socket.socket() as free:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        free.bind(("127.0.0.1", 0))
        first, second = free.getsockname()[1], holder.getsockname()[1]
        free.close()
        with pytest.raises(SupervisorError) as caught:
            ports.listen_all(
                {
                    "first": Listen(host="127.0.0.1", port=first),
                    f"{ports.METRICS}second": Listen(host="127.0.0.1", port=second),
                }
            )

        assert "port-in-use" == caught.value.code
        assert f"Metrics.Listen = 127.0.0.1:{second} is in use by" in caught.value.message
        assert f"(pid {os.getpid()})" in caught.value.message
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", first))


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SupervisorError, match=r"cannot listen on 192\.0\.2\.1:1"):
        ports.listen_tcp(Listen(host="192.0.2.1", port=1))


def test_nobody_holds_a_port_that_is_free() -> None:
    assert "" == ports.holder_of(1)
