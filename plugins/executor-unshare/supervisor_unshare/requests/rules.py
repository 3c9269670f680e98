"""What the root-owned settings allow, and whose uid is whose."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from supervisor import Egress
from supervisor.site_mounts import SiteMount
from supervisor_unshare.requests.fields import Refused

ROOT, SUBUID, ROOTLESS, LANDLOCK = TIERS = ("root", "subuid", "rootless", "landlock")


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the root-owned settings allow. trees: the paths that sandboxes see read-only.

    tier: what keeps contents apart; site: the mounts of the settings, their links followed.
    hidden: what no sandbox sees, even where it lies in something shown. without: layers of the
    sandbox that are left out. egress: how far content may reach at most; ports: of the host's
    loopback that egress user reaches; pasta: the program for it, "" for none.
    install_uid, install_gid: of whoever installs packages; 0: each content itself.
    run_as and run_as_group: accounts that content may run as, see supervisor.accounts.
    several_nodes: whether other helpers may be at work in the same DataDir.
    maxima: the most of a limit, by the names of jobs.Limits.
    totals: what all contents together may use, as settings of totals.of. parent: the pid of the
    server's first process, 0 where there is none.
    """

    tier: str
    core_uid: int
    core_gid: int
    gateway_uid: int
    gateway_gid: int
    uid_first: int
    uid_last: int
    install_uid: int = 0
    install_gid: int = 0
    run_as: str = ""
    run_as_group: str = ""
    several_nodes: bool = False
    trees: tuple[str, ...] = ()
    site: tuple[SiteMount, ...] = ()
    hidden: tuple[str, ...] = ()
    executables: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    without: frozenset[str] = frozenset()
    egress: Egress = Egress.HOST
    ports: tuple[int, ...] = ()
    pasta: str = ""
    totals: Mapping[str, Any] = field(default_factory=dict)
    maxima: Mapping[str, float] = field(default_factory=dict)
    parent: int = 0

    @property
    def reaches(self) -> frozenset[Egress]:
        """How far content can be let reach here, and may."""
        given = networks(self.tier, self.pasta)
        return frozenset(one for one in given if one is one.within(self.egress))

    @property
    def rootless(self) -> bool:
        """Whether the helper has no right of root, not even over a range of uids of its own."""
        return self.tier not in (ROOT, SUBUID)

    @property
    def network_uid(self) -> int:
        """Who owns the networks of sandboxes and speaks for them: no content, where that can be."""
        if self.rootless:
            return os.geteuid()
        return self.uid_first if self.tier == ROOT else self.uid_last + 1

    @property
    def programs(self) -> tuple[str, ...]:
        """The places of mounts that content may be started from: those that it cannot change."""
        return tuple(mount.at for mount in self.site if not mount.writable)


def networks(tier: str, pasta: str) -> frozenset[Egress]:
    """Give how far content can be let reach in a tier. pasta: the program, "" for none."""
    if tier == LANDLOCK:
        return frozenset({Egress.HOST})
    return frozenset({Egress.NONE, Egress.HOST, *([Egress.USER] if pasta else [])})


def content_uid(uid: int, content: int, rules: Rules) -> int:
    """Check the uid of a content: its own of the range, never root's, the core's or the gateway's.

    Gives the uid that the process will have: rootless, that of the helper.
    """
    if rules.rootless:
        if uid not in (0, os.geteuid()):
            raise Refused(f"uid {uid} needs a helper that runs as root")
        return os.geteuid()
    if rules.tier == SUBUID:  # the core knows of no range
        if uid != 0:
            raise Refused(f"uid {uid} needs a helper that runs as root")
        uid = rules.uid_first + content
        if uid > rules.uid_last:
            raise Refused(f"content {content} is beyond the {rules.uid_last} uids of /etc/subuid")
        return uid
    if uid in (0, rules.core_uid, rules.gateway_uid):
        raise Refused(f"uid {uid} belongs to root, the core or the gateway")
    if not rules.uid_first <= uid <= rules.uid_last:
        raise Refused(f"uid {uid} lies outside {rules.uid_first} to {rules.uid_last}")
    if uid != rules.uid_first + content:
        raise Refused(f"uid {uid} belongs to content {uid - rules.uid_first}, not {content}")
    return uid
