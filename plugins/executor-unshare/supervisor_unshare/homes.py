"""The home of the user that content runs as, which its processes see as /home."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Sequence

from supervisor.site_mounts import covered
from supervisor_unshare.plan_mounts import Entry
from supervisor_unshare.rules import Rules


def home_of(uid: int, rules: Rules, shown: Sequence[Entry]) -> str | None:
    """Give the directory that a user's processes see as /home; None: an empty one of the run.

    It is that of passwd, if it exists and is the user's. The uids of the contents' own range are
    nobody's; without root content would get the server's own home. One that holds what is hidden
    stays hidden, and so does one into which a mount point would have to be made for `shown`.
    """
    if rules.rootless or rules.uid_first <= uid <= rules.uid_last:
        return None
    try:
        home = os.path.realpath(pwd.getpwuid(uid).pw_dir)
        found = os.stat(home)
    except (KeyError, OSError):
        return None
    if home == "/" or not stat.S_ISDIR(found.st_mode) or found.st_uid != uid:
        return None
    if any(covered(path, [home]) or covered(home, [path]) for path in rules.hidden):
        return None
    return None if any(covered(entry.target, ["/home"]) for entry in shown) else home
