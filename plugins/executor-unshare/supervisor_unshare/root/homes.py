"""The home of the account that content runs as, which its processes see as /home."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable

from supervisor.accounts import Account
from supervisor.site_mounts import covered
from supervisor_unshare.linux.answering import answers
from supervisor_unshare.requests.jobs import Job
from supervisor_unshare.root.plan_mounts import Entry


def home_of(account: Account | Job, hidden: Collection[str], shown: Iterable[Entry]) -> str | None:
    """Give the directory that an account's processes see as /home; None: an empty one of the run.

    It is the account's own, if that is there and belongs to it. One that holds what is hidden, or
    lies in it, stays hidden; so does one where a mount point would have to be made for `shown`.
    """
    if not answers(account.home):
        return None
    home = os.path.realpath(account.home)
    try:
        found = os.stat(home)
    except OSError:
        return None
    if home == "/" or not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid:
        return None
    if any(covered(path, [home]) or covered(home, [path]) for path in hidden):
        return None
    return None if any(covered(entry.target, ["/home"]) for entry in shown) else home
