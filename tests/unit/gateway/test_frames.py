"""A piece that is one whole control frame is told from data; a close of ours is well formed."""

from __future__ import annotations

import pytest

from supervisor.gateway.frames import Chunk, classify, close_frame

MASK = b"\x11\x22\x33\x44"


def masked(first: int, payload: bytes) -> bytes:
    body = bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))
    return bytes((first, 0x80 | len(payload))) + MASK + body


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", Chunk.DATA),
        (b"\x89", Chunk.DATA),
        (b"\x89\x00", Chunk.ALIVE),
        (b"\x8a\x02hi", Chunk.ALIVE),
        (masked(0x89, b"x" * 125), Chunk.ALIVE),
        (masked(0x89, b"hi") + b"\x81\x00", Chunk.DATA),
        (masked(0x89, b"hi")[:-1], Chunk.DATA),
        (b"\x89\x7e\x00\x7e" + b"x" * 126, Chunk.DATA),
        (b"\x09\x00", Chunk.DATA),
        (masked(0x81, b"hello"), Chunk.DATA),
        (b"\x8b\x00", Chunk.DATA),
    ],
)
def test_only_whole_control_frames_are_not_data(data: bytes, expected: Chunk) -> None:
    assert expected is classify(memoryview(data))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (None, Chunk.CLOSE),
        (1000, Chunk.CLOSE),
        (1001, Chunk.CLOSE),
        (1002, Chunk.FAILURE),
        (1011, Chunk.FAILURE),
        (4000, Chunk.CLOSE),
    ],
)
def test_a_close_says_by_its_code_whether_something_is_wrong(
    code: int | None, expected: Chunk
) -> None:
    payload = b"" if code is None else code.to_bytes(2, "big") + b"why"
    assert expected is classify(masked(0x88, payload))
    assert expected is classify(bytes((0x88, len(payload))) + payload)


def test_our_close_frame_keeps_whole_characters_of_a_long_reason() -> None:
    frame = close_frame(1001, "é" * 100)
    assert (0x88, 122, 1001) == (frame[0], frame[1], int.from_bytes(frame[2:4], "big"))
    assert "é" * 60 == frame[4:].decode()
    assert Chunk.CLOSE is classify(frame)
