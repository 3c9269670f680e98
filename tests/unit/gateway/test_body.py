"""Chunks are read strictly, in whatever pieces they come."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.gateway.body import LAST_CHUNK, BadChunk, Chunks, chunk


def feed(data: bytes, cuts: list[int]) -> tuple[bytes, bytes, bool]:
    """Feed data in pieces; give payload, what lies beyond, and whether the body ended."""
    chunks = Chunks()
    payload, beyond = b"", b""
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    for start, end in pairwise(edges):
        if chunks.done:
            beyond += data[start:end]
            continue
        piece, rest = chunks.feed(memoryview(data[start:end]))
        payload += bytes(piece)
        beyond += bytes(rest)
    return payload, beyond, chunks.done


@given(
    bodies=st.lists(st.binary(min_size=1, max_size=300), max_size=6),
    extension=st.sampled_from([b"", b";a=b", b" ; x"]),
    trailers=st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC:\r\n"]),
    beyond=st.binary(max_size=20),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_a_body_survives_any_cuts(
    bodies: list[bytes], extension: bytes, trailers: bytes, beyond: bytes, cuts: list[int]
) -> None:
    data = b"".join(b"%X%b\r\n%b\r\n" % (len(body), extension, body) for body in bodies)
    data += b"0\r\n" + trailers + b"\r\n" + beyond
    assert (b"".join(bodies), beyond, True) == feed(data, cuts)


@given(st.binary(min_size=1, max_size=100), st.lists(st.integers(0, 200), max_size=4))
def test_what_we_frame_is_read_back(body: bytes, cuts: list[int]) -> None:
    assert (body, b"", True) == feed(b"".join(chunk(body)) + LAST_CHUNK, cuts)


@pytest.mark.parametrize(
    "data",
    [
        b"1\nx",
        b"1\r\nxy\r\n",
        b"1\r\nx\n",
        b"\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 1\r\n",
        b"g\r\n",
        b"1000000000000000\r\n",
        b"1;\x00\r\n",
        b"1\r\r\n",
        b"0\r\nno colon\r\n\r\n",
        b"0\r\n folded: x\r\n\r\n",
        b"0\r\nA: \x01\r\n\r\n",
        b"1;" + b"a" * 2000,
        b"0\r\n" + b"A: " + b"b" * 900 + b"\r\n" + (b"A: " + b"b" * 900 + b"\r\n") * 12,
    ],
)
def test_malformed_framing_is_refused(data: bytes) -> None:
    with pytest.raises(BadChunk):
        feed(data, [])
