"""Read the root-owned settings that the helper gets from whoever starts it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from supervisor import Egress
from supervisor_unshare.network import uplink
from supervisor_unshare.requests.rules import ROOT, ROOTLESS, SUBUID, TIERS, Rules
from supervisor_unshare.root import host, site
from supervisor_unshare.sandbox.entry import LAYERS
from supervisor_unshare.tiers import subuid

# Inside the namespace of the tier subuid the caller is 0, and contents count from there.
_CALLER = (
    "core_uid", "core_gid", "gateway_uid", "gateway_gid", "uid_first", "install_uid", "install_gid",
)  # fmt: skip


def read_settings(fd: int) -> dict[str, Any]:
    """Read the settings from their descriptor, from its beginning."""
    with os.fdopen(fd, "rb") as file:
        file.seek(0)
        settings: dict[str, Any] = json.loads(file.read())["settings"]
    return settings


def read_rules(settings: Mapping[str, Any]) -> Rules:
    """Take the rules out of the settings; raises ValueError for a mount that cannot be shown."""
    tier = settings.get("tier") or (ROOTLESS if os.geteuid() else ROOT)
    if tier not in TIERS or (tier in (ROOT, SUBUID)) != (os.geteuid() == 0):
        raise ValueError(f"{tier!r} cannot be the tier of a helper with uid {os.geteuid()}")
    mounts, hidden = site.read(settings)
    without = frozenset(settings.get("without", ()))
    if unknown := without - LAYERS:
        raise ValueError(f"[Privileged] Without: no layer {min(unknown)!r} of {sorted(LAYERS)}")
    if tier == SUBUID:
        last = subuid.size() - 1  # the one beyond it is that of networks
        settings = {**settings, **dict.fromkeys(_CALLER, 0), "uid_last": last}
    return Rules(
        tier=tier,
        core_uid=settings["core_uid"],
        core_gid=settings["core_gid"],
        gateway_uid=settings["gateway_uid"],
        gateway_gid=settings["gateway_gid"],
        uid_first=settings["uid_first"],
        uid_last=settings["uid_last"],
        install_uid=settings.get("install_uid", 0),
        install_gid=settings.get("install_gid", 0),
        run_as=settings.get("run_as", ""),
        run_as_group=settings.get("run_as_group", ""),
        several_nodes=settings.get("several_nodes", False),
        trees=host.shown_trees(),
        site=mounts,
        hidden=hidden,
        executables=tuple(settings.get("executables", ())),
        libraries=tuple(settings.get("libraries", ())),
        without=without,
        egress=Egress(settings.get("most_egress", "host")),
        ports=tuple(settings.get("loopback_ports", ())),
        pasta=uplink.installed(),
        totals=settings.get("totals", {}),
        maxima=settings.get("maxima", {}),
        parent=settings.get("parent_pid", 0),
    )
