"""What goes on, in packets: counts of runs, open seats and ended ones, sans-IO."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

Message = dict[str, Any]

PART = 400  # entries that surely fit a packet


def changes(runs: dict[str, Any], left: Sequence[tuple[str, bool]]) -> Iterator[Message]:
    """Yield the messages that tell what has changed; none where nothing has."""
    for names in parts(sorted(runs)):
        yield {"type": "activity", "runs": {name: runs[name] for name in names}}
    for part in parts(left):
        yield {"type": "activity", "runs": {}, "left": part}


def picture(runs: dict[str, Any], seats: Sequence[list[Any]]) -> Iterator[Message]:
    """Yield the messages of a complete picture, at least one; all but the last say `more`."""
    messages: list[Message] = [
        *({"runs": {name: runs[name] for name in names}} for names in parts(sorted(runs))),
        *({"runs": {}, "seats": part} for part in parts(seats)),
    ] or [{"runs": {}}]
    for number, message in enumerate(messages):
        first = {"all": True} if number == 0 else {}
        more = {"more": True} if number < len(messages) - 1 else {}
        yield {"type": "activity", **first, **message, **more}


def usage(number: int, seats: Sequence[list[Any]]) -> Iterator[Message]:
    """Yield the answers to `tell`, at least one; all but the last say `more`."""
    found = list(parts(seats)) or [[]]
    for place, part in enumerate(found, 1):
        more = {"more": True} if place < len(found) else {}
        yield {"type": "told", "id": number, "seats": part, **more}


def parts(entries: Sequence[Any]) -> Iterator[list[Any]]:
    """Yield the entries in lists that fit a packet each."""
    for start in range(0, len(entries), PART):
        yield list(entries[start : start + PART])
