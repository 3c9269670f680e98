"""Who the children are: as root three users that never overlap, else the caller."""

from __future__ import annotations

import grp
import os
import pwd
from dataclasses import dataclass

from supervisor.errors import SupervisorError
from supervisor.settings import Configuration


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A user as a process is given it: numeric ids, supplementary groups, home directory."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = "/nonexistent"


@dataclass(frozen=True, kw_only=True, slots=True)
class Identities:
    """The identities of one server; admin_gid is None where there is no group of administrators."""

    rootless: bool
    helper: Identity
    core: Identity
    gateway: Identity
    install: Identity
    admin_gid: int | None = None


def resolve(configuration: Configuration, *, uid: int, gid: int) -> Identities:
    """Give the identities for a parent of this uid and gid.

    As root the users of `[Privileged]` must exist, differ from each other and from root, and no
    account of this machine may lie in the range of content uids; else
    SupervisorError("identity-invalid").
    """
    if uid != 0:
        caller = Identity(
            name=str(uid), uid=uid, gid=gid, home=os.environ.get("HOME", "/nonexistent")
        )
        return Identities(rootless=True, helper=caller, core=caller, gateway=caller, install=caller)
    privileged = configuration.privileged
    gateway = user(privileged.gateway_user)
    core = user(privileged.core_user, groups=(gateway.gid,))
    install = user(privileged.install_user)
    _refuse_overlap(configuration, core, gateway, install)
    return Identities(
        rootless=False,
        helper=Identity(name="root", uid=0, gid=0, home="/root"),
        core=core,
        gateway=gateway,
        install=install,
        admin_gid=_group(privileged.admin_group),
    )


def user(name: str, *, groups: tuple[int, ...] = ()) -> Identity:
    """Look up a user by name, or by number (`1501` or `1501:1600`), which need not exist."""
    uid, _, gid = name.partition(":")
    if uid.isdecimal() and (gid or uid).isdecimal():
        return Identity(name=name, uid=int(uid), gid=int(gid or uid), groups=groups)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise SupervisorError(
            "identity-invalid",
            f"there is no user {name!r} on this machine",
            hint="`supervisor setup` makes the users that the server needs.",
        ) from None
    return Identity(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=groups, home=entry.pw_dir)


def _group(name: str) -> int | None:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _refuse_overlap(
    configuration: Configuration, core: Identity, gateway: Identity, install: Identity
) -> None:
    seen_uids: dict[int, str] = {0: "root"}
    seen_gids: dict[int, str] = {0: "root"}
    for one in (core, gateway, install):
        for number, seen, kind in ((one.uid, seen_uids, "uid"), (one.gid, seen_gids, "gid")):
            if number in seen:
                raise SupervisorError(
                    "identity-invalid",
                    f"{one.name} and {seen[number]} share the {kind} {number};"
                    " each part of the server needs a user and a group of its own",
                )
            seen[number] = one.name
    first, last = configuration.applications.uid_first, configuration.applications.uid_last
    taken = {entry.pw_uid: entry.pw_name for entry in pwd.getpwall()} | seen_uids
    inside = sorted(number for number in taken if first <= number <= last)
    if inside:
        raise SupervisorError(
            "identity-invalid",
            f"the account {taken[inside[0]]} (uid {inside[0]}) lies in the range {first} to {last}"
            " of content uids",
            hint="Move the range with [Applications] UidFirst and UidLast.",
        )
    run_as = configuration.applications.run_as
    if run_as and user(run_as).uid in (0, core.uid, gateway.uid):
        raise SupervisorError(
            "identity-invalid",
            f"Applications.RunAs = {run_as} is root, the core's or the gateway's user;"
            " content never runs as one of them",
        )
