"""Whom a process runs as: the content's own uid, an account that the administrator allows, or, for
installs, the one user of them all.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from supervisor import accounts
from supervisor_unshare.linux.answering import in_time
from supervisor_unshare.requests.fields import Refused
from supervisor_unshare.requests.rules import ROOT, Rules, content_uid

# What an account may be given to. Unpacking stays the content's own.
_PURPOSES = frozenset({"serve", "render", "customize"})


@dataclass(frozen=True, kw_only=True)
class Identity:
    """owner: whose the content's files are on disk. account: the name of a given one, or "".

    home: the account's, as it is written, which need not be there.
    """

    owner: int
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    account: str = ""
    home: str = ""


def identity(
    uid: int, gid: int, groups: Sequence[int], *, content: int, purpose: str, rules: Rules
) -> Identity:
    """Check whom a job asks to run as; raises Refused.

    The accounts that are allowed follow from the root-owned settings and from this machine, not
    from who asks.
    """
    own = rules.uid_first + content
    if rules.rootless:
        caller = content_uid(uid, content, rules)
        return Identity(owner=caller, uid=caller, gid=os.getegid())
    if rules.tier == ROOT and purpose == "install" and rules.install_uid:
        return _installer(uid, gid, groups, content_uid(own, content, rules), rules)
    if rules.tier == ROOT and purpose in _PURPOSES and not rules.uid_first <= uid <= rules.uid_last:
        return _account(uid, gid, groups, content_uid(own, content, rules), rules)
    uid = content_uid(uid, content, rules)
    if gid not in (0, uid):
        raise Refused(f"gid {gid} is not the content's own, {uid}")
    if groups:
        raise Refused("supplementary groups are not allowed")
    return Identity(owner=uid, uid=uid, gid=uid)


def _installer(uid: int, gid: int, groups: Sequence[int], owner: int, rules: Rules) -> Identity:
    """What an install writes is for other contents too, so it belongs to none of them."""
    if (uid, gid, *groups) != (rules.install_uid, rules.install_gid):
        raise Refused(
            f"an install runs as uid {rules.install_uid} and gid {rules.install_gid}, not as"
            f" {uid} and {gid}",
            hint="That is the InstallUser of [Privileged].",
        )
    return Identity(owner=owner, uid=uid, gid=gid)


def _account(uid: int, gid: int, groups: Sequence[int], owner: int, rules: Rules) -> Identity:
    try:
        found, why = in_time(lambda: _look_up(uid, rules)) or (None, "")
    except TimeoutError as error:
        raise Refused(
            f"the account with uid {uid} cannot be looked up: {error}",
            code="run-as-refused",
            hint="See the services that /etc/nsswitch.conf names for passwd and group.",
        ) from None
    if found is None:
        raise Refused(f"this machine has no account with uid {uid}")
    if why:
        raise Refused(f"content may not run as uid {uid}: {why}", code="run-as-refused")
    name = found["name"]
    if gid != found["gid"] or not set(groups) <= set(found["groups"]) or 0 in (gid, *groups):
        raise Refused(f"gid {gid} and groups {sorted(groups)} are not those of {name}")
    return Identity(
        owner=owner, uid=uid, gid=gid, groups=tuple(groups), account=name, home=found["home"]
    )


def _look_up(uid: int, rules: Rules) -> tuple[dict[str, Any] | None, str]:
    """Give the account and why content may not run as it. May wait for a server, for minutes."""
    found = accounts.of_uid(uid)
    if found is None:
        return None, ""
    forbidden = (0, rules.core_uid, rules.gateway_uid, rules.install_uid)
    why = accounts.refusal(
        found, default=rules.run_as, group=rules.run_as_group, forbidden=forbidden
    )
    return dataclasses.asdict(found), why
