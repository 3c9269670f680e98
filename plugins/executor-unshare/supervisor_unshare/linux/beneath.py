"""Open a path beneath a directory without openat2, which some containers' filters hide (ENOSYS).

As strict as openat2 with RESOLVE_BENEATH, NO_SYMLINKS and NO_MAGICLINKS: one name at a time, each
beneath the descriptor of the one before, no link followed, no way up.
"""

from __future__ import annotations

import errno
import os
import stat

_STEP = os.O_PATH | os.O_DIRECTORY


def open_by_steps(directory: int, path: str, flags: int) -> int:
    """Open `path` beneath `directory`; close-on-exec. flags: without O_CREAT.

    Raises OSError as openat2 does: ELOOP for a link on the way, EXDEV for a path that leads up or
    begins at the root.
    """
    if not path:
        raise _refusal(errno.ENOENT, path)
    # "." at the end asks for a directory; ".." could come back, but nothing of ours asks for that.
    names = [name for name in path.split("/") if name not in ("", ".")]
    if path.startswith("/") or ".." in names:
        raise _refusal(errno.EXDEV, path)
    if not names or path.endswith(("/", "/.")):
        names.append(".")
    here = os.dup(directory)
    try:
        for name in names[:-1]:
            inner = _open_one(here, name, _STEP)
            os.close(here)
            here = inner
        return _open_one(here, names[-1], flags)
    finally:
        os.close(here)


def _open_one(directory: int, name: str, flags: int) -> int:
    try:
        found = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    except NotADirectoryError:
        # What O_NOFOLLOW makes of a link where a directory was asked for.
        if not flags & os.O_NOFOLLOW and stat.S_ISLNK(os.lstat(name, dir_fd=directory).st_mode):
            raise _refusal(errno.ELOOP, name) from None
        raise
    if not flags & os.O_NOFOLLOW and stat.S_ISLNK(os.fstat(found).st_mode):  # O_PATH opens links
        os.close(found)
        raise _refusal(errno.ELOOP, name)
    return found


def _refusal(number: int, path: str) -> OSError:
    return OSError(number, f"openat: {os.strerror(number)}", path)
