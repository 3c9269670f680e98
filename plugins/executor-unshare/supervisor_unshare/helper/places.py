"""Make, seal and remove places of DataDir and RunDir by directory descriptors; no link is followed.

Content may change its own trees at any moment, also while they are walked here: every step opens
one name beneath a descriptor that is already held, and looks at what it got.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Sequence

from supervisor_unshare.linux.opened import opened as opened
from supervisor_unshare.linux.syscalls import open_beneath

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
PARENT_MODE = 0o711
LEAF_MODE = 0o750


class Unsealable(Exception):
    """A tree holds something that is neither a regular file nor a directory."""


def make(
    base: int,
    parts: Sequence[str],
    *,
    owner: tuple[int, int] | None,
    mode: int = LEAF_MODE,
    parent_gid: int = -1,
) -> None:
    """Make the directory `parts` beneath `base`, and its parents; there already is fine.

    owner is (uid, gid) of the last one, None without root: all are the caller's alone. Parents stay
    root's, with `parent_gid`. A directory that is there keeps its owner and permissions.
    """
    above = parts[:-1]
    if above and not _is_finished(base, above, owned=owner is not None):
        make(base, above, owner=owner and (-1, parent_gid), mode=PARENT_MODE, parent_gid=parent_gid)
    with (
        opened(open_beneath(base, "/".join(above) or ".", _DIRECTORY)) as parent,
        opened(_made(parent, parts[-1])) as directory,
    ):
        if owner is not None and _is_new(directory):
            os.fchown(directory, *owner)
            os.fchmod(directory, mode)


def _is_finished(base: int, parts: Sequence[str], *, owned: bool) -> bool:
    try:
        with opened(open_beneath(base, "/".join(parts), _DIRECTORY)) as directory:
            return not (owned and _is_new(directory))
    except FileNotFoundError:
        return False


def _made(parent: int, name: str) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
    return open_beneath(parent, name, _DIRECTORY)


def _is_new(directory: int) -> bool:
    """Tell whether it is ours and private: just made, or left between two steps of an attempt."""
    found = os.fstat(directory)
    return found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700


def adopt(base: int, parts: Sequence[str], owner: tuple[int, int]) -> None:
    """Give an owner what lies in a directory that is still the helper's own; not there is fine.

    For places that a server made while all content had its uid. The directory itself comes last: an
    adoption that was cut short is done again.
    """
    try:
        top = open_beneath(base, "/".join(parts), _DIRECTORY)
    except FileNotFoundError:
        return
    with opened(top):
        if os.fstat(top).st_uid != os.geteuid():
            return
        waiting = [os.dup(top)]
        while waiting:
            with opened(waiting.pop()) as directory:
                for name in os.listdir(directory):
                    os.chown(name, *owner, dir_fd=directory, follow_symlinks=False)
                    if stat.S_ISDIR(os.lstat(name, dir_fd=directory).st_mode):
                        waiting.append(os.open(name, _DIRECTORY | os.O_CLOEXEC, dir_fd=directory))
        os.fchown(top, *owner)
        os.fchmod(top, LEAF_MODE)


def remove_empty(base: int, parts: Sequence[str]) -> None:
    """Remove an empty directory; raises OSError for anything else."""
    with opened(open_beneath(base, "/".join(parts[:-1]) or ".", _DIRECTORY)) as parent:
        os.rmdir(parts[-1], dir_fd=parent)


def remove(base: int, parts: Sequence[str]) -> None:
    """Remove the tree or file at `parts` beneath `base`. Gone already is fine.

    Directories inside are moved up and emptied one by one, so that no depth of nesting matters.
    """
    try:
        parent = open_beneath(base, "/".join(parts[:-1]) or ".", _DIRECTORY)
    except FileNotFoundError:
        return
    with opened(parent):
        name = parts[-1]
        if _unlinked(parent, name):
            return
        with opened(_open_own(parent, name)) as top:
            if os.geteuid() == 0:  # else its owner could fill it for as long as we empty it
                os.fchmod(top, 0o700)
                os.fchown(top, 0, 0)
            _empty(top)
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(name, dir_fd=parent)


def is_small(base: int, parts: Sequence[str], *, most: int = 16) -> bool:
    """Tell whether a tree has at most so many entries, so that removing it takes no time."""
    try:
        waiting = [open_beneath(base, "/".join(parts), _DIRECTORY)]
    except OSError:
        return True
    found = 0
    try:
        while waiting:
            with opened(waiting.pop()) as directory, os.scandir(directory) as entries:
                for entry in entries:
                    found += 1
                    if found > most:
                        return False
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(open_beneath(directory, entry.name, _DIRECTORY))
    except OSError:
        return False
    finally:
        for fd in waiting:
            os.close(fd)
    return True


def _empty(top: int) -> None:
    token = os.urandom(8).hex()  # content must not have such a name lying there
    moved = 0
    while names := os.listdir(top):
        for name in names:
            if _unlinked(top, name):
                continue
            with opened(_open_own(top, name)) as directory:
                for inner in os.listdir(directory):
                    if not _unlinked(directory, inner):
                        _make_writable(directory, inner)
                        moved += 1
                        new = f".{token}.{moved}"
                        os.rename(inner, new, src_dir_fd=directory, dst_dir_fd=top)
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(name, dir_fd=top)


def _unlinked(directory: int, name: str) -> bool:
    """Remove a file or an empty directory; False for a directory that holds something."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError):
        try:
            os.rmdir(name, dir_fd=directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.EACCES):
                raise
            return False
    return True


def _open_own(directory: int, name: str) -> int:
    _make_writable(directory, name)
    return os.open(name, _DIRECTORY | os.O_CLOEXEC, dir_fd=directory)


def _make_writable(directory: int, name: str) -> None:
    """Without root, a directory that its owner may not write cannot be emptied or moved."""
    if os.geteuid() == 0:
        return
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    with opened(os.open(name, flags, dir_fd=directory)) as found:
        os.chmod(f"/proc/self/fd/{found}", 0o700)


def seal(base: int, parts: Sequence[str], *, owner: tuple[int, int] | None) -> None:
    """Take a finished tree out of its writer's hands: owner core, group gateway, no set-uid bits.

    Raises Unsealable for links, pipes, sockets and devices; what was sealed before stays sealed.
    """
    waiting = [open_beneath(base, "/".join(parts), _DIRECTORY)]
    try:
        while waiting:
            with opened(waiting.pop()) as directory:
                _seal_one(directory, owner, 0o750)
                for name in os.listdir(directory):
                    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                    found = _open_sealable(directory, name, flags)
                    if stat.S_ISDIR(os.fstat(found).st_mode):
                        waiting.append(found)
                        continue
                    with opened(found):
                        _seal_one(found, owner, 0o640)
    finally:
        for fd in waiting:
            os.close(fd)


def _open_sealable(directory: int, name: str, flags: int) -> int:
    try:
        found = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise Unsealable(f"{name!r} is a link or a socket") from None
        raise
    mode = os.fstat(found).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        os.close(found)
        raise Unsealable(f"{name!r} is neither a regular file nor a directory")
    return found


def _seal_one(fd: int, owner: tuple[int, int] | None, least: int) -> None:
    if owner is not None:
        os.fchown(fd, *owner)
    os.fchmod(fd, (os.fstat(fd).st_mode | least) & 0o755)
