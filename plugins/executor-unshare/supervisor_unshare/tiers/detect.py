"""The answer to `--tier`: which tier this host gives. The parent asks before anything starts."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from supervisor_unshare.network import uplink
from supervisor_unshare.requests.rules import networks
from supervisor_unshare.tiers import subuid
from supervisor_unshare.tiers.choice import AUTO, KEEPS_APART, Unavailable, choose
from supervisor_unshare.tiers.facts import observe
from supervisor_unshare.tiers.trial import attempt


def answer(settings: Mapping[str, Any]) -> str:
    """Give JSON: `tier`, `egress` and `says`, or `code`, `message` and `hint` for a refusal."""
    root = os.geteuid() == 0
    uid = settings["uid_last"] if root else os.geteuid()
    facts = observe(
        root=root,
        without=frozenset(settings.get("without", ())),
        subuid="" if root else subuid.hindrance(),
    )
    try:
        asked = str(settings.get("tier") or AUTO).lower()
        choice = choose(asked, facts, lambda tier: attempt(tier, uid=uid))
    except Unavailable as refusal:
        found = {"code": refusal.code, "message": str(refusal), "hint": refusal.hint}
        return json.dumps(found)
    egress = sorted(networks(choice.tier, uplink.installed()))
    return json.dumps({"tier": choice.tier, "egress": egress, "says": KEEPS_APART[choice.tier]})
