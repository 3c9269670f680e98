"""A site's own mounts in sandboxes, and what of a shown tree stays hidden all the same.

Everything here comes from the root-owned settings. Whom a mount is for goes by the guid and name
that the core tells with a job: a core that lies gains nothing, since it could start that other
content as well.
"""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from supervisor.site_mounts import SiteMount, covered, misplaced
from supervisor_unshare.linux.answering import answers
from supervisor_unshare.requests.jobs import Job
from supervisor_unshare.root.plan_mounts import (
    OWN_TREES,
    PRIVATE,
    Base,
    Bind,
    Directory,
    Entry,
    File,
    Link,
    Mask,
)

_WITHOUT = frozenset({"unpack", "tidy"})  # programs of our own, which need nothing of a site's


def read(settings: Mapping[str, Any]) -> tuple[tuple[SiteMount, ...], tuple[str, ...]]:
    """Give the mounts of the settings, their links followed, and what no sandbox may see.

    Raises ValueError for a mount that cannot be. Which file a path means stays as it is now: a link
    that is put there later fails the start.
    """
    own = (settings["data_dir"], settings["run_dir"], *settings.get("hidden", ()), *PRIVATE)
    hidden = tuple(dict.fromkeys(os.path.realpath(path) for path in own))
    written = map(SiteMount.of_json, settings.get("mounts", ()))
    mounts = tuple(dataclasses.replace(m, path=_followed(m.path)) for m in written)
    for problem in misplaced(mounts, hidden):
        raise problem
    return mounts, hidden


def _followed(path: str) -> str:
    return os.path.realpath(path) if answers(path) else path


def masks(shown: Iterable[Entry], hidden: Iterable[str]) -> Iterator[Mask]:
    """Yield what lies over the hidden files and directories that shown trees hold."""
    binds = [entry for entry in shown if isinstance(entry, Bind) and entry.base is Base.HOST]
    for path in hidden:
        for bind in binds:
            source = "/" + "/".join(bind.parts)
            if covered(path, [source]) and (entry := found(path, follow=False)) is not None:
                inside = PurePosixPath(path).relative_to(source)
                target = str(PurePosixPath(bind.target) / inside)
                yield Mask(target=target, directory=stat.S_ISDIR(entry.st_mode))


def mount_points(mounts: Iterable[SiteMount], shown: Sequence[Entry]) -> Iterator[Entry]:
    """Yield what must be in the shared root for mounts to stand on, beside what is there anyway."""
    targets = {entry.target for entry in shown}
    for mount in mounts:
        if mount.at in targets or covered(mount.at, OWN_TREES) or _around(mount, shown):
            continue
        targets.add(mount.at)
        is_file = answers(mount.path) and os.path.isfile(mount.path)
        yield File(target=mount.at, text="") if is_file else Directory(target=mount.at)


def unplaced(mount: SiteMount, shown: Sequence[Entry]) -> str:
    """Say why a mount cannot stand at its place on this host, or "".

    A tree of the host is shown read-only: nothing can be made in it to stand on.
    """
    around = _around(mount, shown)
    if around is None:
        return ""
    if isinstance(around, Link):
        return f"{around.target} is a link to {around.to}"
    inside = PurePosixPath(mount.at).relative_to(around.target)
    there = os.path.join("/", *around.parts, inside)
    if os.path.lexists(there) and os.path.realpath(there) == there:
        return ""
    return f"{around.target} is this machine's own, and has no {inside}"


def _around(mount: SiteMount, shown: Sequence[Entry]) -> Bind | Link | None:
    """Give what of the host the place lies in; a tree that begins right there is no hindrance."""
    for entry in shown:
        match entry:
            case Bind(target=target) if target != mount.at and covered(mount.at, [target]):
                return entry
            case Link(target=target) if covered(mount.at, [target]):
                return entry
    return None


def binds(mounts: Iterable[SiteMount], job: Job) -> tuple[Bind, ...]:
    """Give what a job is shown of the mounts. Raises ValueError where two claim one place."""
    if job.purpose in _WITHOUT:
        return ()
    found: dict[str, SiteMount] = {}
    for mount in mounts:
        if not mount.is_for(job.content, job.guid, job.name):
            continue
        if mount.at in found:
            raise ValueError(
                f'[Mount "{found[mount.at].name}"] and [Mount "{mount.name}"] both show content'
                f" {job.content} something at {mount.at}"
            )
        found[mount.at] = mount
    return tuple(
        Bind(
            base=Base.HOST,
            parts=PurePosixPath(mount.path).parts[1:],
            target=mount.at,
            writable=mount.writable,
            optional=True,
        )
        for mount in found.values()
    )


def findings(mounts: Iterable[SiteMount], shown: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    """Yield a line of `doctor` for each mount: name, what is found, and the fix where it fails."""
    for mount in mounts:
        name, where = f"mount {mount.name}", f"{mount.path} at {mount.at}"
        if problem := unplaced(mount, shown):
            fix = f"Choose another At, or make {mount.at} on this machine."
            yield name, f"{where} is not shown: {problem}.", fix
        elif not answers(mount.path):
            fix = "See `mount` and its server; until then what it is shown to cannot start."
            yield name, f"The file system of {mount.path} does not answer.", fix
        elif not os.path.exists(mount.path):
            fix = "Make it, mount it, or remove the section; runs that start then see it."
            yield name, f"{mount.path} is not on this machine, so sandboxes do not show it.", fix
        elif not mount.contents and not _others_may_enter(mount.path):
            fix = f"chmod o+rX {mount.path}, or give the contents' users rights with setfacl."
            yield name, f"{where} is shown, but its permissions let no other user read it.", fix
        else:
            yield name, f"{where}: {mount}."


def _others_may_enter(path: str) -> bool:
    least = 0o5 if os.path.isdir(path) else 0o4
    return os.stat(path).st_mode & least == least


def found(path: str, *, follow: bool = True) -> os.stat_result | None:
    """Give what lies at a path, None for nothing; raises OSError where that cannot be told."""
    try:
        return os.stat(path, follow_symlinks=follow)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return None
