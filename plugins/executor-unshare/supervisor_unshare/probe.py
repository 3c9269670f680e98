"""What this host allows: which tier of sandbox works, and what to change where none does."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from typing import Any

from supervisor_unshare import filters, landlock, syscalls
from supervisor_unshare.cgroups import Hierarchies
from supervisor_unshare.rules import Rules
from supervisor_unshare.sandbox import NAMESPACES

_CAP_SYS_ADMIN = 21
_NEED_ADMIN = (
    "Local execution needs CAP_SYS_ADMIN. Start the container with --cap-add=SYS_ADMIN or "
    "--privileged, or choose another executor."
)
_NEED_USERNS = (
    "Allow user namespaces: sysctl user.max_user_namespaces=15000 and, where the kernel has them, "
    "kernel.unprivileged_userns_clone=1 and kernel.apparmor_restrict_unprivileged_userns=0; "
    "or run the server as root."
)


def hint(step: str, number: int | None, *, rootless: bool) -> str:
    """Say what a person can do about a failed step, or ""."""
    if step.startswith("exec ") and number == errno.ENOENT:
        return "The program, or the interpreter of its first line, is not visible in the sandbox."
    if step.startswith("workdir "):
        return "The working directory is made by a mount of the plan, or by the unpacked bundle."
    if step == "clone" and number in (errno.EPERM, errno.ENOSPC, errno.EINVAL, errno.EACCES):
        return _NEED_USERNS if rootless else _NEED_ADMIN
    if step in ("user-namespace", "identity") and rootless:
        return _NEED_USERNS
    if number == errno.ENOSYS:
        return "The kernel is too old (5.14 or newer is needed), or a container filters the call."
    if step == "mount /proc" and number == errno.EPERM:
        return "Unmask /proc: --security-opt systempaths=unconfined (docker), unmask=ALL (podman)."
    if number in (errno.EPERM, errno.EACCES) and _apparmor():
        return "Add --security-opt apparmor=unconfined to the container, or load a profile."
    if number in (errno.EPERM, errno.EACCES) and not rootless and not _has(_CAP_SYS_ADMIN):
        return _NEED_ADMIN
    return ""


def unavailable(step: str, number: int | None, *, rootless: bool) -> bool:
    """Tell whether a failed step means that this host allows no sandbox at all."""
    if number in (errno.EAGAIN, errno.ENOMEM):
        return False
    early = ("clone", "user-namespace", "mounts", "new-root") if rootless else ("clone", "mounts")
    return step in early


def refusal(*, rootless: bool) -> tuple[str, str] | None:
    """Try to make the namespaces; give (message, hint) where this host forbids it, else None."""
    try:
        pid, pidfd = syscalls.clone(NAMESPACES | (syscalls.CLONE_NEWUSER if rootless else 0))
    except OSError as error:
        what = "user namespaces" if rootless else "namespaces"
        text = f"this host forbids {what}: {error.strerror}"
        return text, hint("clone", error.errno, rootless=rootless)
    if pid == 0:
        os._exit(0)
    os.close(pidfd)
    os.waitpid(pid, 0)
    return None


def findings(rules: Rules, *, groups: Hierarchies, limits: Iterable[str]) -> list[dict[str, Any]]:
    """Give the lines of `doctor`: plain objects with the fields of Finding."""
    rootless = rules.rootless
    refused = refusal(rootless=rootless)
    tier = (
        "rootless: all content has one uid" if rootless else "root: every content has its own uid"
    )
    found = [
        _finding("sandbox", refused is None, *(refused or (f"Sandboxes work (tier {tier}).", ""))),
        _finding(
            "limits",
            bool(groups.controllers),
            f"Enforced here: {', '.join(sorted(limits)) or 'none'}.",
            "" if groups.controllers else "Delegate the cgroup controllers memory, pids and cpu.",
        ),
        *_layers(rules.without),
        _finding("python", True, f"The helper runs {sys.executable}."),
        _finding("shown", True, f"Every sandbox sees {', '.join(rules.trees)} and a part of /etc."),
    ]
    found[0]["fatal"] = refused is not None
    return found


def _layers(without: frozenset[str]) -> list[dict[str, Any]]:
    """Tell of each layer whether it holds here."""
    version = landlock.version()
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
            found.append(_finding(name, works, f"{name} {'holds' if works else why}."))
    return found


def _finding(name: str, ok: bool, text: str, fix: str = "") -> dict[str, Any]:
    return {"name": name, "ok": ok, "text": text, "fix": fix, "fatal": False}


def _has(capability: int) -> bool:
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("CapEff:"):
                return bool(int(line.split()[1], 16) >> capability & 1)
    return False


def _apparmor() -> bool:
    try:
        with open("/proc/self/attr/current", encoding="ascii", errors="replace") as file:
            label = file.read().strip("\0\n ")
    except OSError:
        return False
    return label not in ("", "unconfined")
