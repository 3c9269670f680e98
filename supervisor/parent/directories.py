"""RunDir and DataDir: what lies directly in them, whose it is, and making it so."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from supervisor.errors import SupervisorError
from supervisor.layout import RUN_SOCKETS
from supervisor.parent.identity import Identities

# The core's own, then those whose leaves belong to content and are made by the helper. `bundles`
# is made first: a directory that holds other things but no `bundles` is not a DataDir of ours.
CORE_OWNED = ("bundles", "db", "jobs", "uploads")
ROOT_OWNED = ("apps", "reports", "state", "tmp", "libraries")


@dataclass(frozen=True, kw_only=True, slots=True)
class Directory:
    """A directory as it should be: path, owner and group (numbers), permissions."""

    path: str
    uid: int
    gid: int
    mode: int

    def right(self) -> bool:
        """Tell whether it is there as it should be."""
        try:
            found = os.lstat(self.path)
        except FileNotFoundError:
            return False
        return (
            stat.S_ISDIR(found.st_mode)
            and (found.st_uid, found.st_gid) == (self.uid, self.gid)
            and stat.S_IMODE(found.st_mode) == self.mode
        )

    def make(self) -> None:
        """Make it, or give it the owner and permissions that it should have. OSError if not."""
        with suppress(FileExistsError):
            os.mkdir(self.path, 0o700)
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not self.right():
                os.fchown(fd, self.uid, self.gid)
                os.fchmod(fd, self.mode)
        finally:
            os.close(fd)


def data_directories(data_dir: str, who: Identities) -> Iterator[Directory]:
    """Yield DataDir's own directories: the core's 0700; root's 0750, so that the core may enter.

    Content has no way in by path: it sees only what is bound into its sandbox.
    """
    for name in CORE_OWNED:
        yield Directory(
            path=os.path.join(data_dir, name), uid=who.core.uid, gid=who.core.gid, mode=0o700
        )
    for name in ROOT_OWNED:
        yield Directory(
            path=os.path.join(data_dir, name),
            uid=who.helper.uid,
            gid=who.core.gid,
            mode=0o700 if who.rootless else 0o750,
        )


def make_data_dir(data_dir: str, who: Identities) -> bool:
    """Make DataDir and its directories, or check those that are there. May be called again.

    Tells whether there was none before.

    Raises SupervisorError("data-dir-unusable"). A directory that is there already is never given
    another owner or other permissions itself: it may be somebody else's.
    """
    try:
        is_new = not os.path.isdir(data_dir)
        if is_new:
            os.makedirs(os.path.dirname(data_dir), 0o755, exist_ok=True)
            Directory(
                path=data_dir,
                uid=who.helper.uid,
                gid=who.core.gid,
                mode=0o700 if who.rootless else 0o750,
            ).make()
        _refuse_strange(data_dir, who)
        for directory in data_directories(data_dir, who):
            directory.make()
        return is_new
    except OSError as error:
        raise SupervisorError(
            "data-dir-unusable",
            f"Server.DataDir = {data_dir} cannot be used:"
            f" {error.strerror} ({error.filename or data_dir})",
            hint="Name a directory of a local file system that this user may write.",
        ) from None


def _refuse_strange(data_dir: str, who: Identities) -> None:
    present = set(os.listdir(data_dir)) - {"lost+found"}
    if present and CORE_OWNED[0] not in present:
        raise SupervisorError(
            "data-dir-unusable",
            f"Server.DataDir = {data_dir} holds other things"
            f" ({', '.join(sorted(present)[:3])}) and is no data directory of content-supervisor",
            hint="Name an empty directory, or one that does not exist yet.",
        )
    found = os.stat(data_dir)
    if found.st_uid != who.helper.uid or found.st_mode & 0o022:
        raise SupervisorError(
            "data-dir-unusable",
            f"Server.DataDir = {data_dir} must belong to uid {who.helper.uid}"
            " and be writable by nobody else",
            hint=f"chown {who.helper.uid}:{who.core.gid} {data_dir}; chmod 0750 {data_dir}",
        )


def make_run_dir(run_dir: str, who: Identities) -> None:
    """Make RunDir, its `w` (a directory per run, made by the helper) and `core` (the core's own).

    Raises SupervisorError("run-dir-unusable"): also where somebody else made it before us, which
    in /tmp anybody could.
    """
    open_mode = 0o700 if who.rootless else 0o711
    try:
        os.makedirs(os.path.dirname(run_dir), 0o755, exist_ok=True)
        if os.path.lexists(run_dir):
            found = os.lstat(run_dir)
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != who.helper.uid:
                raise SupervisorError(
                    "run-dir-unusable",
                    f"{run_dir} is not a directory of uid {who.helper.uid}",
                    hint="Somebody else made it. Remove it, or name another: [Server] RunDir.",
                )
        for path, owner, mode in (
            (run_dir, who.helper, open_mode),
            (os.path.join(run_dir, RUN_SOCKETS), who.helper, open_mode),
            (os.path.join(run_dir, "core"), who.core, 0o700),
        ):
            Directory(path=path, uid=owner.uid, gid=owner.gid, mode=mode).make()
    except OSError as error:
        raise SupervisorError(
            "run-dir-unusable",
            f"cannot make {error.filename or run_dir}: {error.strerror}",
            hint="Name a directory that this user may make: [Server] RunDir.",
        ) from None
