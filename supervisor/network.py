"""Egress: how far a process reaches into the network. Standard library only."""

from __future__ import annotations

from enum import StrEnum


class Egress(StrEnum):
    """From the least to the most: nothing, what lies beyond this machine, all that it has.

    NONE and USER are networks of the process's own, in which its loopback is its own too.
    """

    NONE = "none"
    USER = "user"
    HOST = "host"

    def within(self, most: Egress) -> Egress:
        """Give the lesser of the two."""
        return min(self, most, key=[*Egress].index)


def effective(own: Egress | None, default: Egress, most: Egress) -> Egress:
    """Give what counts for a content: its own, else the server's, and never more than the most."""
    return (own or default).within(most)
