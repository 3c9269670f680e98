"""Messages and descriptors over real socket pairs."""

from __future__ import annotations

import array
import itertools
import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from supervisor import packets

Pair = tuple[socket.socket, socket.socket]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)


def make_pair() -> Pair:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = make_pair()
    with one, other:
        yield one, other


def open_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@settings(deadline=None)
@given(fields=st.dictionaries(st.text(max_size=8), VALUES, max_size=5), kind=st.text())
def test_a_message_arrives_as_it_was_sent(fields: dict[str, Any], kind: str) -> None:
    message = {**fields, "type": kind}
    one, other = make_pair()
    with one, other:
        packets.send(one, message)
        assert (message, []) == packets.receive(other)


@settings(deadline=None)
@given(count=st.integers(0, packets.MAX_FDS))
def test_descriptors_arrive_in_order_and_close_on_exec(count: int) -> None:
    one, other = make_pair()
    pipes = [os.pipe() for _ in range(count)]
    with one, other:
        packets.send(one, {"type": "x"}, tuple(write for _, write in pipes))
        received = packets.receive(other)
        assert received is not None
        _, fds = received
        assert count == len(fds)
        for number, fd in enumerate(fds):
            assert not os.get_inheritable(fd)
            os.write(fd, bytes([number]))
            os.close(fd)
        assert [bytes([n]) for n in range(count)] == [os.read(read, 1) for read, _ in pipes]
    for read, write in pipes:
        os.close(read)
        os.close(write)


def test_a_message_over_the_limit_is_not_sent(pair: Pair) -> None:
    with pytest.raises(ValueError, match="over the limit"):
        packets.send(pair[0], {"type": "x", "text": "y" * packets.LIMIT})
    fits = "y" * (packets.LIMIT - len('{"type":"x","text":""}'))
    packets.send(pair[0], {"type": "x", "text": fits})
    received = packets.receive(pair[1])
    assert received is not None
    assert fits == received[0]["text"]


def test_too_many_descriptors_are_not_sent(pair: Pair) -> None:
    with pytest.raises(ValueError, match="descriptors"):
        packets.send(pair[0], {"type": "x"}, (0,) * (packets.MAX_FDS + 1))


@pytest.mark.parametrize(
    "data",
    [
        b"no json",
        b"\xff\xfe",
        b"[]",
        b"3",
        b"{}",
        b'{"type": 3}',
        b'{"kind": "x"}',
        b"[" * 60_000,
        b" " * (packets.LIMIT + 1),
    ],
)
def test_a_bad_packet_is_refused_and_leaks_no_descriptor(pair: Pair, data: bytes) -> None:
    read, write = os.pipe()
    before = open_fds()
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [read, write]))]
    pair[0].sendmsg([data], rights)
    with pytest.raises(packets.BadPacket):
        packets.receive(pair[1])
    assert before == open_fds()
    os.close(read)
    os.close(write)


def test_more_descriptors_than_allowed_are_refused_and_none_leaks(pair: Pair) -> None:
    before = open_fds()
    fds = array.array("i", [0] * (packets.MAX_FDS + 20))
    pair[0].sendmsg([b'{"type":"x"}'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
    with pytest.raises(packets.BadPacket):
        packets.receive(pair[1])
    assert before == open_fds()


def test_the_end_is_none(pair: Pair) -> None:
    pair[0].close()
    assert packets.receive(pair[1]) is None


def test_nothing_there_yet_blocks(pair: Pair) -> None:
    pair[1].setblocking(False)
    with pytest.raises(BlockingIOError):
        packets.receive(pair[1])


def test_a_full_link_blocks_and_nothing_is_torn(pair: Pair) -> None:
    pair[0].setblocking(False)
    numbers = itertools.count()

    def fill() -> None:
        for number in numbers:
            packets.send(pair[0], {"type": "x", "number": number, "text": "y" * 9000})

    with pytest.raises(BlockingIOError):
        fill()
    sent = next(numbers) - 1
    assert sent > 0
    for number in range(sent):
        received = packets.receive(pair[1])
        assert received is not None
        assert number == received[0]["number"]


def test_a_link_that_is_gone_raises_and_kills_nobody(pair: Pair) -> None:
    pair[1].close()
    with pytest.raises(OSError):
        packets.send(pair[0], {"type": "x"})


def test_the_peer_is_known(pair: Pair) -> None:
    assert (os.getpid(), os.geteuid(), os.getegid()) == packets.peer(pair[0])


def test_text_of_any_language_stays_within_ascii_on_the_wire(pair: Pair) -> None:
    packets.send(pair[0], {"type": "é\U0001f600"})
    data = pair[1].recv(packets.LIMIT)
    assert data.isascii()
    assert {"type": "é\U0001f600"} == json.loads(data)


def test_two_sides_speak_the_lower_version_where_they_are_one_apart() -> None:
    mine = packets.VERSION
    spoken = [packets.common(mine + theirs) for theirs in (-2, -1, 0, 1, 2)]
    assert [None, mine - 1, mine, mine, None] == spoken
    assert packets.common("1") is None
