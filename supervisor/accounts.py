"""The accounts of this machine that content may run as, where an administrator says so.

They may lie on a server (sssd, LDAP) that does not answer; then these functions return late or
never, and `os.getgrouplist` holds up every thread of its process. Who must not wait runs this file
by a bare interpreter and ends that: see `main`. Standard library only.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import sys
from collections.abc import Collection
from dataclasses import asdict, dataclass

_PATIENCE = 30  # seconds after which nobody waits for this program any more


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A user of this machine. groups: all that it is a member of, the primary one included."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def named(name: str) -> Account | None:
    """Look up an account by its name; None where there is none."""
    try:
        return _account(pwd.getpwnam(name))
    except (KeyError, ValueError):
        return None


def of_uid(uid: int) -> Account | None:
    """Look up an account by its number; None where there is none."""
    try:
        return _account(pwd.getpwuid(uid))
    except (KeyError, OverflowError):
        return None


def refusal(account: Account, *, default: str, group: str, forbidden: Collection[int]) -> str:
    """Say why content may not run as this account; "" where it may.

    default: Applications.RunAs, which needs no group; group: the group whose members are allowed,
    "" for the primary one of `default`. forbidden: uids of the server itself.
    """
    if account.uid == 0 or account.uid in forbidden:
        return f"{account.name} is root or a user of the server itself"
    if account.name == default:
        return ""
    shared = _shared(group, default)
    if shared is None:
        return (
            "[Applications] SharedRunAsUnixGroup names no group of this machine, and without one "
            "no other account is allowed"
        )
    if shared.gr_gid not in account.groups:
        return f"{account.name} is not a member of the group {shared.gr_name}"
    return ""


def main() -> None:
    """Read {name, default, group, forbidden} as JSON; write the account, or null, and a refusal."""
    signal.alarm(_PATIENCE)
    question = json.load(sys.stdin)
    account = named(question.pop("name"))
    refused = refusal(account, **question) if account else ""
    json.dump([account and asdict(account), refused], sys.stdout)


def _shared(group: str, default: str) -> grp.struct_group | None:
    try:
        if group:
            return grp.getgrnam(group)
        found = named(default) if default else None
        return grp.getgrgid(found.gid) if found else None
    except KeyError:
        return None


def _account(entry: pwd.struct_passwd) -> Account:
    groups = os.getgrouplist(entry.pw_name, entry.pw_gid)
    return Account(
        name=entry.pw_name,
        uid=entry.pw_uid,
        gid=entry.pw_gid,
        groups=tuple(sorted(groups)),
        home=entry.pw_dir,
    )


if __name__ == "__main__":
    main()
