"""Which tier of sandbox this server has: chosen once, at its start, and never changed silently.

A tier is what keeps contents apart: root, subuid, rootless or landlock. The choice is pure: it goes
by facts that were observed and by what came of a trial (trial.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from supervisor_unshare.requests.rules import LANDLOCK, ROOT, ROOTLESS, SUBUID, TIERS
from supervisor_unshare.tiers.advice import NO_LANDLOCK, OLD_LANDLOCK, advice
from supervisor_unshare.tiers.facts import Facts
from supervisor_unshare.tiers.trial import Outcome

AUTO = "auto"
LEAST_LANDLOCK = 3  # before, content could truncate any file of its uid
KEEPS_APART = {
    ROOT: "every content has its own uid",
    SUBUID: "every content has its own uid, mapped in a user namespace",
    ROOTLESS: "all content has one uid, the caller's; namespaces keep it apart",
    LANDLOCK: "all content has one uid, the caller's, and no namespaces: for one tenant only",
}


class Unavailable(Exception):
    """The host does not give a tier that is wanted. code: of the registry; hint: what to change."""

    def __init__(self, code: str, message: str, hint: str) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A tier that works here. moved: by the way around a refused pivot_root."""

    tier: str
    moved: bool = False


def choose(asked: str, facts: Facts, attempt: Callable[[str], Outcome]) -> Choice:
    """Choose the tier that was asked for, or with `auto` the best; never landlock unasked.

    attempt tries a tier. Raises Unavailable, where the server must not start.
    """
    if asked != AUTO and asked not in TIERS:
        known = ", ".join((AUTO, *TIERS))
        message = f"[Privileged] Tier = {asked}: the tiers are {known}"
        raise Unavailable("settings-invalid", message, "")
    wanted = (asked,) if asked != AUTO else (ROOT,) if facts.root else (SUBUID, ROOTLESS)
    for tier in wanted:
        if reason := hindrance(tier, facts):
            message, hint = reason
            continue
        outcome = attempt(tier)
        if outcome.failure is None:
            return Choice(tier=tier, moved=outcome.moved)
        message = f"the step {outcome.failure.step!r} failed: {outcome.failure.message}"
        hint = advice(outcome.failure, tier, facts)
    if asked == AUTO:
        if "Helper = none" not in hint:
            hint = f"{hint} Or use another executor: [Privileged] Helper = none.".lstrip()
        raise Unavailable("sandbox-unavailable", f"this host allows no sandbox: {message}", hint)
    raise Unavailable(
        "tier-unavailable", f"[Privileged] Tier = {asked} cannot be had here: {message}", hint
    )


def hindrance(tier: str, facts: Facts) -> tuple[str, str] | None:
    """Give (message, hint) where the facts alone rule a tier out."""
    if tier == ROOT and not facts.root:
        return "the server does not run as root", "Start it as root, or write another Tier."
    if tier != ROOT and facts.root:
        return "the server runs as root", (
            "Start it as an ordinary user (in a container: --user 10001), or remove Tier."
        )
    if tier == SUBUID and facts.subuid:
        return facts.subuid, (
            "Install newuidmap (Debian: uidmap), and give the user a line each in /etc/subuid and"
            " /etc/subgid: usermod --add-subuids 1000000-1065535 --add-subgids 1000000-1065535."
        )
    if tier == LANDLOCK and (left := facts.without & {"landlock", "seccomp"}):
        return (
            f"{min(left)} is left out by the settings, and is all that keeps contents apart there",
            "Remove it from [Privileged] Without.",
        )
    if tier == LANDLOCK and facts.landlock < LEAST_LANDLOCK:
        found = f"version {facts.landlock}" if facts.landlock else "no Landlock"
        hint = OLD_LANDLOCK if facts.landlock else NO_LANDLOCK
        return f"this host has {found}, and {LEAST_LANDLOCK} (Linux 6.2) is needed", hint
    return None
