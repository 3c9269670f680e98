"""What goes on, in packets: counts of runs, open seats and ended ones, sans-IO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Message = dict[str, Any]

PART = 400  # entries that surely fit a packet
LONGEST_WORD = 16  # characters of what a worker says of its work


def changes(runs: dict[str, Any], left: Sequence[tuple[str, bool]]) -> Iterator[Message]:
    """Yield the messages that tell what has changed; none where nothing has."""
    return _packed(runs, "left", left)


def picture(runs: dict[str, Any], seats: Sequence[list[Any]]) -> Iterator[Message]:
    """Yield the messages of a complete picture, at least one; all but the last say `more`."""
    messages = list(_packed(runs, "seats", seats)) or [{"type": "activity", "runs": {}}]
    messages[0]["all"] = True
    for message in messages[:-1]:
        message["more"] = True
    yield from messages


def _packed(runs: dict[str, Any], name: str, seats: Sequence[Any]) -> Iterator[Message]:
    entries = [("runs", run) for run in sorted(runs)] + [(name, seat) for seat in seats]
    for part in parts(entries):
        message: Message = {"type": "activity", "runs": {}}
        for kind, entry in part:
            if kind == "runs":
                message["runs"][entry] = runs[entry]
            else:
                message.setdefault(name, []).append(entry)
        yield message


def usage(number: int, seats: Sequence[list[Any]]) -> Iterator[Message]:
    """Yield the answers to `tell`, at least one; all but the last say `more`."""
    found = list(parts(seats)) or [[]]
    for place, part in enumerate(found, 1):
        more = {"more": True} if place < len(found) else {}
        yield {"type": "told", "id": number, "seats": part, **more}


def word(value: bytes) -> str:
    """Give the value of Supervisor-Busy such that PART of them fit a packet; the core judges it."""
    text = value.decode("ascii", "replace").replace("\ufffd", "?")
    return text if len(text) <= LONGEST_WORD else text[: LONGEST_WORD - 3] + "..."


def parts(entries: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the entries in lists that fit a packet each."""
    for start in range(0, len(entries), PART):
        yield list(entries[start : start + PART])
