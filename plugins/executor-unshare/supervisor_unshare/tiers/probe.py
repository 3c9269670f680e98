"""What `doctor` says of this host: the tier, the limits, the layers."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from typing import Any

from supervisor_unshare.limits import totals
from supervisor_unshare.limits.cgroups import Hierarchies
from supervisor_unshare.linux import filters, landlock
from supervisor_unshare.linux.answering import answers, has_server
from supervisor_unshare.requests.rules import LANDLOCK, ROOT, Rules
from supervisor_unshare.root import host, site
from supervisor_unshare.sandbox.steps import StartFailed
from supervisor_unshare.tiers import network_findings, ranges
from supervisor_unshare.tiers.advice import advice
from supervisor_unshare.tiers.choice import KEEPS_APART
from supervisor_unshare.tiers.facts import Facts, observe
from supervisor_unshare.tiers.trial import Failure, attempt


def hint(error: StartFailed, rules: Rules) -> str:
    """Say what a person can do about a start that failed, or ""."""
    failure = Failure(step=error.step, errno=error.number)
    return advice(failure, rules.tier, _facts(rules))


def unavailable(step: str, number: int | None, *, rootless: bool) -> bool:
    """Tell whether a failed step means that this host allows no sandbox at all."""
    if number in (errno.EAGAIN, errno.ENOMEM):
        return False
    early = ("clone", "user-namespace", "mounts", "new-root") if rootless else ("clone", "mounts")
    return step in early


def findings(rules: Rules, *, groups: Hierarchies, limits: Iterable[str]) -> list[dict[str, Any]]:
    """Give the lines of `doctor`: plain objects with the fields of Finding."""
    outcome = attempt(rules.tier, uid=os.geteuid() if rules.rootless else rules.uid_last)
    failure = outcome.failure
    sandbox = _finding(
        "sandbox", True, f"Sandboxes work (tier {rules.tier}: {KEEPS_APART[rules.tier]})."
    )
    if failure is not None:
        text = f"The step {failure.step!r} of a sandbox fails: {failure.message}"
        sandbox = _finding(
            "sandbox", False, text, advice(failure, rules.tier, _facts(rules)), fatal=True
        )
    confines = landlock.version() > 0 and "landlock" not in rules.without
    found = [
        sandbox,
        *_shared(rules),
        *_weaker(rules.tier, moved=outcome.moved, sockets=confines),
        _limits(groups, limits),
        _totals(groups),
        *layers(rules.without, version=landlock.version()),
        *network_findings.findings(rules),
        _finding("python", True, f"The helper runs {sys.executable}."),
        _finding("shown", True, f"Every sandbox sees {', '.join(rules.trees)} and a part of /etc."),
        *_mounts(rules),
    ]
    return found


def _mounts(rules: Rules) -> list[dict[str, Any]]:
    """Tell of each mount of the settings where it is shown, and whether it can be.

    Of none where a tree does not answer, which is told instead: looking at it would take for ever.
    """
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = file.readlines()
    served = [tree for tree in rules.trees if has_server(tree, mounts)]
    if silent := [tree for tree in served if not answers(tree)]:
        fix = "See `mount` and its server; until then nothing starts, and what runs goes on."
        return [
            _finding(f"tree {tree}", False, f"The file system of {tree} does not answer.", fix)
            for tree in silent
        ]
    lines = site.findings(rules.site, host.look(rules.trees))
    return [_finding(name, not fix, text, *fix) for name, text, *fix in lines]


def _shared(rules: Rules) -> list[dict[str, Any]]:
    """Tell of uids of contents that others have, where there are any."""
    text = ranges.finding(rules)
    fix = (
        "Before there is content, write another UidFirst and UidLast in [Applications]; else give"
        " those users another range (usermod --del-subuids FIRST-LAST --add-subuids FIRST-LAST)."
    )
    return [_finding("uids", False, text, fix)] if text else []


def _weaker(tier: str, *, moved: bool, sockets: bool) -> list[dict[str, Any]]:
    """Say where a tier holds less than another could.

    moved: pivot_root is refused here. sockets: Landlock lets content make nothing else where it
    listens.
    """
    found = []
    if moved:
        text = "A filter refuses pivot_root here; sandboxes enter their root by move and chroot."
        found.append(_finding("new root", True, text))
    if tier != ROOT:
        text = (
            f"Where it listens, content can make {'sockets alone' if sockets else 'any file'}, as "
            "many as RunDir's file system has room for: only root can limit that. RunAs is root's."
        )
        found.append(_finding("without root", True, text))
    if tier == LANDLOCK:
        version = landlock.version()
        text = (
            "Contents share one uid and see one another's processes: run those of one tenant only."
        )
        fix = "Give the container CAP_SYS_ADMIN, or user namespaces; or one server to each tenant."
        found.append(_finding("one tenant", False, text, fix))
        if version < landlock.SCOPED_SINCE:
            text = f"With Landlock {version}, content can signal the server's own processes."
            found.append(_finding("signals", False, text, "Linux 6.12 or newer forbids it."))
    return found


def _facts(rules: Rules) -> Facts:
    return observe(root=not rules.rootless, without=rules.without, subuid="")


def _limits(groups: Hierarchies, limits: Iterable[str]) -> dict[str, Any]:
    missing = groups.missing
    return _finding(
        "limits",
        not missing,
        f"Enforced here, by {groups.kind}: {', '.join(sorted(limits)) or 'none'}.",
        f"Delegate the cgroup controllers that are missing: {', '.join(missing)}."
        if missing
        else "",
    )


def _totals(groups: Hierarchies) -> dict[str, Any]:
    held = totals.applied(groups)
    if held.memory is None or held.pids is None:
        text = "Nothing keeps all contents together from taking the whole machine."
        return _finding("totals", False, text, "Delegate the cgroup controllers memory and pids.")
    text = f"All contents together: {held.memory / 1e6:.0f} MB of memory, {held.pids} processes."
    return _finding("totals", True, text)


def layers(without: frozenset[str], *, version: int) -> list[dict[str, Any]]:
    """Tell of each layer whether it holds here. version: of Landlock."""
    here = {
        "seccomp": (bool(filters.program()), f"no filter is known for {os.uname().machine}"),
        "landlock": (version > 0, "the kernel has none, or a container filters it"),
    }
    found = []
    for name, (works, why) in here.items():
        if name in without:
            fix = "Remove it from [Privileged] Without."
            found.append(_finding(name, False, f"{name} is left out by the settings.", fix))
        else:
            text = f"{name} holds." if works else f"No {name}: {why}."
            if name == "landlock" and 0 < version < landlock.SCOPED_SINCE:
                text = (
                    f"landlock holds in version {version}: with egress host, content reaches the "
                    "host's abstract sockets (not from Linux 6.12 on)."
                )
            found.append(_finding(name, works, text))
    return found


def _finding(
    name: str, ok: bool, text: str, fix: str = "", *, fatal: bool = False
) -> dict[str, Any]:
    return {"name": name, "ok": ok, "text": text, "fix": fix, "fatal": fatal}
