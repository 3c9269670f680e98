"""Ranges of uids that this machine has given to others, and in which those of contents lie too.

Whoever has such a range can become each uid of it in a user namespace of his own: he ends the
content's processes, and takes the place of the socket on which they listen. No two ranges are given
twice by `useradd`, but it does not know of ours. Accounts are looked at by the parent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from supervisor_unshare.requests.rules import ROOT, Rules

FILES = ("/etc/subuid", "/etc/subgid")
_MOST_SHOWN = 5


def finding(rules: Rules, files: tuple[str, ...] = FILES) -> str:
    """Say in words who else has uids of the contents', or ""."""
    if rules.tier != ROOT:  # contents have the caller's, or some of a range of his
        return ""
    found = [
        f"{first} to {last} are {name}'s by {file}"
        for file in files
        for name, first, last in _given(file)
        if first <= rules.uid_last and last >= rules.uid_first
    ]
    if not found:
        return ""
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return (
        f"The uids {rules.uid_first} to {rules.uid_last} are for contents alone, but"
        f" {', '.join(found[:_MOST_SHOWN])}{more}: who has them can end and replace content."
    )


def _given(file: str) -> Iterator[tuple[str, int, int]]:
    """Yield owner, first and last uid of each range; what is no line of such a file is nobody's."""
    with contextlib.suppress(FileNotFoundError), open(file, encoding="utf-8") as lines:
        for line in lines:
            name, _, rest = line.strip().partition(":")
            first, _, count = rest.partition(":")
            if first.isdecimal() and count.isdecimal() and int(count):
                yield name, int(first), int(first) + int(count) - 1
