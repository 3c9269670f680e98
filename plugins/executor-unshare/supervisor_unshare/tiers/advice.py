"""What a person can change about a step that the host refuses. Pure: it goes by observed facts."""

from __future__ import annotations

import errno

from supervisor_unshare.requests.rules import LANDLOCK, ROOT
from supervisor_unshare.tiers.facts import Facts
from supervisor_unshare.tiers.trial import Failure

_REFUSED = (errno.EPERM, errno.EACCES)
NEED_ADMIN = (
    "Local execution needs CAP_SYS_ADMIN. Start the container with --cap-add=SYS_ADMIN or "
    "--privileged, or use another executor ([Privileged] Helper = none), or accept [Privileged] "
    "Tier = landlock, for one tenant, as an ordinary user (--user 10001)."
)
NO_LANDLOCK = (
    "Landlock is not built into the kernel, switched off at boot (lsm=), or a container's filter "
    "refuses it."
)
OLD_LANDLOCK = (
    "Start a newer kernel, or let this host give another tier (docs/howto/containers.md)."
)
NETWORK = (
    "Egress user needs the device /dev/net/tun (modprobe tun; in a container --device "
    "/dev/net/tun), user namespaces for ordinary users, and a default route on this machine. "
    "Choose egress none or host where that is not to be had."
)
_FILTERED = (
    "A filter of system calls holds here (a container's seccomp profile): start it with "
    "--security-opt seccomp=unconfined"
)
_CAPABILITIES = (
    "The server needs the capabilities CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETPCAP and "
    "SETUID besides SYS_ADMIN; Docker's default has them."
)


_ANOTHER = "The Path of that [Mount] is of another kind now, or a link: `supervisor reload`."
_SILENT = (
    "The file system there (the Path of that [Mount], or a tree of every sandbox such as /opt/R) "
    "does not answer: see `mount` and its server."
)
_MOUNT = {
    **dict.fromkeys((errno.ELOOP, errno.EINVAL, errno.ENOTDIR), _ANOTHER),
    **dict.fromkeys((errno.ESTALE, errno.EIO, errno.ETIMEDOUT, errno.EHOSTDOWN), _SILENT),
}


def advice(failure: Failure, tier: str, facts: Facts) -> str:
    """Say what a person can change about a step that this host refuses, or ""."""
    step, number = failure.step, failure.errno
    if step.startswith("exec ") and number == errno.ENOENT:
        return "The program, or the interpreter of its first line, is not visible in the sandbox."
    if step.startswith("workdir "):
        return "The working directory is made by a mount of the plan, or by the unpacked bundle."
    if step == "mount /proc" and number == errno.EPERM:
        return (
            "/proc is masked here. Unmask it: --security-opt systempaths=unconfined (docker), "
            "--security-opt unmask=ALL (podman)."
        )
    if step.startswith("mount /") and number in _MOUNT:
        return _MOUNT[number]
    if step == "network":
        return NETWORK
    if number == errno.ENOSYS:
        return "The kernel is too old (5.14 or newer is needed), or a container filters the call."
    if tier == LANDLOCK:
        return NO_LANDLOCK if step == "landlock" else ""
    if tier != ROOT:
        return _about_user_namespaces(step, number, facts)
    if number not in _REFUSED:
        return ""
    if not facts.administrates:
        return NEED_ADMIN
    if step == "identity":
        return _CAPABILITIES
    if facts.apparmor:
        return "Add --security-opt apparmor=unconfined to the container, or load a profile."
    if facts.filtered:
        return f"{_FILTERED}, or --privileged."
    return NEED_ADMIN if step == "clone" else ""


def _about_user_namespaces(step: str, number: int | None, facts: Facts) -> str:
    if number == errno.EINVAL and step == "clone":
        return "The kernel has no user namespaces: too old, or built without them."
    if number == errno.ENOSPC or (facts.userns == 0 and step == "clone"):
        return (
            f"No user namespace may be made here (user.max_user_namespaces is {facts.userns}). "
            "Raise it: sysctl user.max_user_namespaces=15000."
        )
    if number not in _REFUSED:
        return ""
    if step in ("user-namespace", "mounts", "identity", "new-root"):
        return (
            "The kernel keeps user namespaces for programs with a profile: sysctl "
            "kernel.apparmor_restrict_unprivileged_userns=0, or load an AppArmor profile with "
            "`userns,` for this Python."
        )
    if facts.filtered:
        return (
            f"{_FILTERED}, or as root with --cap-add=SYS_ADMIN; or accept [Privileged] Tier = "
            "landlock, for one tenant."
        )
    return (
        "Allow user namespaces: sysctl kernel.unprivileged_userns_clone=1 where the kernel has it, "
        "or run the server as root; or accept [Privileged] Tier = landlock, for one tenant."
    )
