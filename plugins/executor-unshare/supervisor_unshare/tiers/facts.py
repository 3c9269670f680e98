"""What is observed of this process and the kernel, before anything is tried."""

from __future__ import annotations

from dataclasses import dataclass

from supervisor_unshare.linux import landlock

_ADMIN = 21  # CAP_SYS_ADMIN


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What was observed of this process. capabilities: the effective ones, as bits.

    filtered: a filter of system calls holds, as in most containers. apparmor: a profile holds.
    landlock: the version, 0 for none. subuid: why there is none for this user, "" where there is.
    userns: the most user namespaces that the kernel lets be made, None where it does not say.
    """

    root: bool
    capabilities: int = 0
    filtered: bool = False
    apparmor: bool = False
    landlock: int = 0
    without: frozenset[str] = frozenset()
    subuid: str = ""
    userns: int | None = None

    @property
    def administrates(self) -> bool:
        """Whether it may mount."""
        return bool(self.capabilities >> _ADMIN & 1)


def observe(*, root: bool, without: frozenset[str], subuid: str) -> Facts:
    """Look at this process and the kernel."""
    status = dict(
        line.split(":\t", 1) for line in _text("/proc/self/status").splitlines() if ":\t" in line
    )
    most = _text("/proc/sys/user/max_user_namespaces").strip()
    label = _text("/proc/self/attr/current").strip("\0\n ")
    return Facts(
        root=root,
        capabilities=int(status.get("CapEff", "0"), 16),
        filtered=status.get("Seccomp", "0").strip() == "2",
        apparmor=label not in ("", "unconfined"),
        landlock=landlock.version(),
        without=without,
        subuid=subuid,
        userns=int(most) if most.isdigit() else None,
    )


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
