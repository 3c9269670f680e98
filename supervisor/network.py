"""Egress: how far a process reaches into the network. Standard library only."""

from __future__ import annotations

from collections.abc import Collection
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


def unmet(default: Egress, most: Egress, given: Collection[Egress]) -> tuple[str, str]:
    """Say what content does not start because its egress is not given, and what to do; or "", "".

    default and most: Egress and MostEgress of [Network]; given: what can be had, within the most
    or beyond it.
    """
    allowed = [egress for egress in Egress if egress in given and egress is egress.within(most)]
    if not allowed:
        return (
            f"no content starts: MostEgress of [Network] is {most.name}, which takes a network of"
            " the content's own, and here there is none",
            "MostEgress = HOST lets content share this machine's network; another [Privileged] Tier"
            " has networks of its own.",
        )
    wanted = default.within(most)
    if wanted in allowed:
        return "", ""
    return (
        "content without an egress of its own does not start: Egress of [Network] is"
        f" {wanted.name}, and here there is {', '.join(egress.name for egress in allowed)}",
        "Let Egress be one that there is; `supervisor doctor` says what the others need.",
    )
