"""Which files of this machine sandboxes do not see. Asked in the core, which has no privilege.

The question comes from what content has written, and content may learn the answer: it is given only
for files whose every directory anybody may enter, and never for those of the system and of others'
processes. Nothing but their existence is looked at.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath

from supervisor.layout import COMPATIBLE_MOUNT_ROOT, MOUNT_ROOT
from supervisor.site_mounts import covered
from supervisor_unshare.linux.answering import kind_of

# Of these content has its own, or they say what runs on this machine, or nobody is to show them.
_NEVER = (
    "/proc", "/sys", "/dev", "/run", "/var/run", "/etc/shadow", "/etc/gshadow", MOUNT_ROOT,
    COMPATIBLE_MOUNT_ROOT,
)  # fmt: skip


def hides(
    path: str,
    trees: Sequence[str],
    own: Sequence[str] = (),
    *,
    kind: Callable[[str], str] = kind_of,
) -> bool:
    """Tell whether a path is there for everybody but sandboxes. May wait for a file system.

    trees: what every sandbox shows at its own path; own: the server's own directories. kind: gives
    the kind of file system that a path lies on, without asking it.
    """
    try:
        if kind(path) == "autofs":  # a question would mount what content names, from any server
            return False
        names = {path, os.path.realpath(path)}
        if any(covered(name, (*_NEVER, *own, *trees)) for name in names):
            return False
        directories = {above for name in names for above in PurePosixPath(name).parents}
        open_to_all = all(os.stat(each).st_mode & stat.S_IXOTH for each in directories)
        return path.startswith("/") and open_to_all and os.path.lexists(path)
    except (OSError, ValueError):
        return False
