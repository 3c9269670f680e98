"""What `doctor` says of the network: how far content may reach, and what it meets there."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from supervisor import Egress
from supervisor_unshare.network.uplink import TUN
from supervisor_unshare.requests.rules import LANDLOCK, ROOT, Rules
from supervisor_unshare.tiers import listeners, uplink_trial
from supervisor_unshare.tiers.listeners import Listener

_MOST_SHOWN = 20


def findings(
    rules: Rules,
    look: Callable[[], Sequence[Listener]] = listeners.here,
    tried: Callable[[Rules], str] = uplink_trial.refusal,
) -> list[dict[str, Any]]:
    """Give the lines: plain objects with the fields of Finding. tried: see uplink_trial."""
    found = []
    if Egress.USER.within(rules.egress) is Egress.USER and rules.tier != LANDLOCK:
        found.append(_uplink(rules, tried))
    if Egress.HOST in rules.reaches:
        found.append(_exposed(look()))
    return found


def _uplink(rules: Rules, tried: Callable[[Rules], str]) -> dict[str, Any]:
    if not rules.pasta:
        text = "Egress user cannot be had: the program pasta is not installed."
        return _finding(False, text, "Install passt (apt install passt), or use host or none.")
    if not os.path.exists(TUN):
        text = f"Egress user cannot be had: there is no {TUN}."
        return _finding(False, text, "modprobe tun; in a container --device /dev/net/tun.")
    if refused := tried(rules):
        text = f"Egress user cannot be had: this host refuses pasta's network ({refused})."
        fix = (
            f"chmod 0666 {TUN}, as udev does it: a right over the own network is needed besides."
            if rules.tier != ROOT
            else "A container needs --privileged for it; else use none or host."
        )
        return _finding(False, text, fix)
    ports = ", ".join(map(str, rules.ports)) or "no port"
    text = f"Egress user works by {rules.pasta}; of the host's loopback it opens {ports}."
    return _finding(True, text)


def _exposed(found: Sequence[Listener]) -> dict[str, Any]:
    """Name what content with egress host can connect to; those on loopback expect nobody else."""
    shown = [str(listener) for listener in found[:_MOST_SHOWN]]
    more = len(found) - len(shown)
    listed = ", ".join(shown) + (f" and {more} more" if more else "")
    text = f"Content with egress host reaches what listens here on TCP: {listed or 'nothing'}."
    return {**_finding(True, text), "name": "egress-host"}


def _finding(ok: bool, text: str, fix: str = "") -> dict[str, Any]:
    return {"name": "egress-user", "ok": ok, "text": text, "fix": fix, "fatal": False}
