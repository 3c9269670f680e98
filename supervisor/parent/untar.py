"""Fill a directory from an archive of a content's tree, as that content. Standard library only."""

from __future__ import annotations

import os
import shutil
import sys
import tarfile
import traceback
from pathlib import PurePosixPath
from typing import IO

from supervisor.errors import SupervisorError
from supervisor.parent.identity import Identity

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def untar(source: IO[bytes], directory: str, owner: Identity | None) -> None:
    """Write what the archive holds beneath a directory; with an owner, in a process of that uid.

    Raises SupervisorError("unavailable") where it cannot be written or the archive is damaged.
    """
    at = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(_child(source, at, owner))
        _, status = os.waitpid(pid, 0)
    finally:
        os.close(at)
    if status:
        raise SupervisorError("unavailable", f"{directory} could not be restored")


def _child(source: IO[bytes], at: int, owner: Identity | None) -> int:
    try:
        os.fchdir(at)
        if owner is not None:
            _become(owner)
        os.umask(0)
        _write(source)
    except BaseException as error:
        known = isinstance(error, OSError | tarfile.TarError | ValueError)
        sys.stderr.write(f"{error}\n" if known else traceback.format_exc())
        return 1
    return 0


def _become(owner: Identity) -> None:
    """Give up being root for good. Raises PermissionError where the process still is who it was."""
    os.setgroups([])
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    # the kernel takes -1, as a number without sign too, for "leave it as it is"
    if (os.getresgid(), os.getresuid()) != ((owner.gid,) * 3, (owner.uid,) * 3):
        raise PermissionError(f"the process did not become uid {owner.uid}, gid {owner.gid}")


def _write(source: IO[bytes]) -> None:
    """Write below the working directory, only into directories that were made here: never through
    a link. Permissions of directories come last, since one that is read-only must be filled first.
    """
    made: set[tuple[str, ...]] = {()}
    links: list[tarfile.TarInfo] = []
    folders: list[tarfile.TarInfo] = []
    with tarfile.open(fileobj=source, mode="r|", encoding="utf-8", errors="surrogateescape") as tar:
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if not parts or parts[0] == "/" or ".." in parts:
                raise ValueError(f"{member.name!r} lies outside of its tree")
            if parts[:-1] not in made:
                raise ValueError(f"{member.name!r} lies in no directory of its tree")
            if member.isdir():
                os.mkdir(member.name, 0o700)
                made.add(parts)
                folders.append(member)
            elif member.issym():
                links.append(member)
            elif member.isreg():
                file = tar.extractfile(member)
                assert file is not None
                with os.fdopen(os.open(member.name, _NEW, 0o600), "wb") as target:
                    shutil.copyfileobj(file, target, 1 << 20)
                    os.fchmod(target.fileno(), member.mode & 0o777)
                os.utime(member.name, (member.mtime, member.mtime))
            else:
                raise ValueError(f"{member.name!r} is no file, directory or link")
    for member in links:
        os.symlink(member.linkname, member.name)
    for member in reversed(folders):
        os.chmod(member.name, member.mode & 0o777)
        os.utime(member.name, (member.mtime, member.mtime))
