"""The little of WebSocket framing that a tunnel needs: control frames, and a close of ours.

Tunnels pass raw bytes and do not follow frames. A piece that is exactly one control frame is taken
for one; anything else is data, also a control frame that came in one piece with data.
"""

from __future__ import annotations

from enum import Enum

CLOSE, PING, PONG = 0x88, 0x89, 0x8A  # first byte: a whole frame of this kind
GOING_AWAY = 1001
RESTARTING = 1012
_MOST = 125  # bytes of a control frame's payload
_REASON = 120  # bytes of a reason: 123 would fit beside the code
_IN_ORDER = frozenset((1000, 1001))


class Chunk(Enum):
    """What one piece of a tunnel's bytes is."""

    DATA = "data"
    ALIVE = "alive"  # a ping or pong: somebody is there, nobody uses it
    CLOSE = "close"  # the peer ends the session in order
    FAILURE = "failure"  # the peer closes it because something is wrong


def classify(data: memoryview | bytes) -> Chunk:
    """Say what a piece is. Any bytes may come; an empty piece is data."""
    if len(data) < 2 or not CLOSE <= data[0] <= PONG:
        return Chunk.DATA
    size = data[1] & 0x7F
    masked = data[1] & 0x80
    begin = 6 if masked else 2
    if size > _MOST or len(data) != begin + size:
        return Chunk.DATA
    if data[0] != CLOSE:
        return Chunk.ALIVE
    if size < 2:
        return Chunk.CLOSE  # no code: nothing to complain of
    high, low = data[begin], data[begin + 1]
    if masked:
        high, low = high ^ data[2], low ^ data[3]
    code = high << 8 | low
    return Chunk.CLOSE if code in _IN_ORDER or code >= 3000 else Chunk.FAILURE


def close_frame(code: int, reason: str) -> bytes:
    """Write a server's close frame; a reason over 120 bytes is cut between characters."""
    text = reason.encode("utf-8", "replace")[:_REASON].decode("utf-8", "ignore").encode()
    return bytes((CLOSE, 2 + len(text))) + code.to_bytes(2, "big") + text
