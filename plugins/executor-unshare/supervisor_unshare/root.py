"""Build the root that a sandbox enters: the part that all runs share, and the run's own.

The shared part is made once by the helper (template.py), or by each child where the helper has no
right to mount. Nothing of one run is ever written into it: a run's own files and mount points lie
in a file system of its own. Sources and targets are opened by descriptors, no link is followed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Mapping, Sequence

from supervisor.layout import MOUNT_ROOT
from supervisor_unshare import syscalls
from supervisor_unshare.places import opened
from supervisor_unshare.plan_mounts import (
    OWN_FILES,
    SHARED_MEMORY,
    Base,
    Bind,
    Directory,
    Entry,
    Link,
    Mask,
    Tree,
    Volatile,
)
from supervisor_unshare.syscalls import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY

NEW_ROOT = (
    "newroot"  # directory of RunDir on which a root is built, seen in its own mount namespace alone
)
_DEVICES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip
_DEVICE_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}  # fmt: skip
_PATH = os.O_PATH | os.O_NOFOLLOW
_OWN_PLACES = "places"  # directory beneath OWN_FILES that a run sees as MOUNT_ROOT


class Step:
    """The name of what is being done, for the report of a failure."""

    name = "start"


def open_bases(bases: Mapping[Base, str]) -> dict[Base, int]:
    """Open where sources begin; in the mount namespace from which they are cloned."""
    found: dict[Base, int] = {}
    with contextlib.ExitStack() as undo:
        for base, path in bases.items():
            found[base] = os.open(path, os.O_PATH | os.O_CLOEXEC)
            undo.callback(os.close, found[base])
        undo.pop_all()
    return found


def build_shared(entries: Sequence[Entry], sources: Mapping[Base, int], step: Step) -> int:
    """Mount a new root at NEW_ROOT with what all runs share; give a descriptor, still writable."""
    step.name = "new-root"
    options = {"size": "16m", "mode": "0755"}
    with contextlib.ExitStack() as undo:
        root = syscalls.new_filesystem("tmpfs", options, ATTR_NOSUID | ATTR_NODEV)
        undo.callback(os.close, root)
        attach_root(root, sources)
        make_entries(root, entries, sources, step)
        step.name = "mount /dev"
        _make_devices(root, sources[Base.HOST])
        undo.pop_all()
    return root


def attach_root(root: int, sources: Mapping[Base, int]) -> None:
    """Attach a detached root at NEW_ROOT."""
    with opened(syscalls.open_beneath(sources[Base.RUN], NEW_ROOT, os.O_PATH)) as place:
        syscalls.attach(root, place)


def open_trees(
    entries: Sequence[Entry],
    sources: Mapping[Base, int],
    step: Step,
    trees: list[int],
    owners: int | None = None,
) -> list[Entry]:
    """Give the entries with each Bind made a Tree, a detached copy of the mounts at its source.

    The Tree's number is its place in `trees`, to which its descriptor is added, also where a later
    one fails: they are the caller's to close. owners: for mapped ones, see idmap.
    """
    found: list[Entry] = []
    for entry in entries:
        step.name = f"mount {entry.target}"
        if not isinstance(entry, Bind):
            found.append(entry)
        elif (cut := _cut(entry, sources[entry.base])) is not None:
            tree, directory = cut
            trees.append(tree)
            if entry.mapped and owners is not None:
                syscalls.map_owners(tree, owners)
            found.append(Tree(target=entry.target, number=len(trees) - 1, directory=directory))
    return found


def mount_own(root: int) -> tuple[int, int]:
    """Give a shared root places for what is the run's own: its files and its mount points.

    Gives the two mounts, still writable.
    """
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC
    files = syscalls.new_filesystem("tmpfs", {"size": "1m", "mode": "0755"}, flags)
    os.mkdir(_OWN_PLACES, 0o755, dir_fd=files)
    _attach(files, root, OWN_FILES)
    with opened(syscalls.open_beneath(files, _OWN_PLACES, os.O_PATH | os.O_DIRECTORY)) as source:
        places = syscalls.clone_tree(source, flags)
    _attach(places, root, MOUNT_ROOT)
    return files, places


def mount_kernel(root: int, step: Step) -> None:
    """Add what the kernel makes for each sandbox anew: /proc, /dev/shm and /dev/pts."""
    step.name = "mount /proc"
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC
    _mount_new(root, "proc", "proc", {}, flags)
    step.name = "mount /dev"
    _mount_new(root, "dev/shm", "tmpfs", {"size": "256m", "mode": "1777"}, flags)
    pts = {"newinstance": "", "ptmxmode": "0666", "mode": "0620", "max": "64"}
    _mount_new(root, "dev/pts", "devpts", pts, ATTR_NOSUID | ATTR_NOEXEC)


def make_entries(
    root: int,
    entries: Sequence[Entry],
    sources: Mapping[Base, int],
    step: Step,
    trees: Sequence[int] = (),
) -> None:
    """Make entries in a root that is still writable; closes the trees that it attaches."""
    for entry in entries:
        step.name = f"mount {entry.target}"
        _make_entry(root, entry, sources, trees)


def _make_entry(root: int, entry: Entry, sources: Mapping[Base, int], trees: Sequence[int]) -> None:
    path = entry.target.lstrip("/")
    if isinstance(entry, Bind):
        if (cut := _cut(entry, sources[entry.base])) is not None:
            _attach_tree(root, path, *cut)
        return
    if isinstance(entry, Tree):
        _attach_tree(root, path, trees[entry.number], entry.directory)
        return
    if isinstance(entry, Mask):
        _mask(root, path, entry)
        return
    if isinstance(entry, Volatile):
        _make_volatile(root, entry)
        return
    if isinstance(entry, Directory):
        os.close(_directory(root, path))
        return
    above, _, name = path.rpartition("/")
    with opened(_directory(root, above)) as parent:
        if isinstance(entry, Link):
            os.symlink(entry.to, name, dir_fd=parent)
        else:
            _new_file(parent, name, entry.text)


def _make_volatile(root: int, entry: Volatile) -> None:
    owner = {"uid": str(entry.uid), "gid": str(entry.gid), "mode": "0700"}
    flags = ATTR_NOSUID | ATTR_NODEV
    with opened(
        syscalls.new_filesystem("tmpfs", {"size": str(entry.size), **owner}, flags)
    ) as mount:
        _attach(mount, root, entry.target)
        for name, target in entry.shows:
            if name:
                os.mkdir(name, 0o700, dir_fd=mount)
                os.chown(name, entry.uid, entry.gid, dir_fd=mount, follow_symlinks=False)
            no_exec = ATTR_NOEXEC if target == SHARED_MEMORY else 0
            with (
                opened(syscalls.open_beneath(mount, name or ".", os.O_PATH | os.O_DIRECTORY)) as it,
                opened(syscalls.clone_tree(it, flags | no_exec)) as tree,
            ):
                _attach(tree, root, target)


def _new_file(parent: int, name: str, text: str = "") -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with opened(os.open(name, flags, 0o644, dir_fd=parent)) as file:
        os.write(file, text.encode())


def _cut(bind: Bind, base: int) -> tuple[int, bool] | None:
    """Give a detached copy of the mounts at a source and whether it is a directory."""
    try:
        source = syscalls.open_beneath(base, "/".join(bind.parts), _PATH)
    except FileNotFoundError:
        if bind.optional:
            return None
        raise
    with opened(source):
        attributes = ATTR_NOSUID | ATTR_NODEV | (0 if bind.writable else ATTR_RDONLY)
        is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
        return syscalls.clone_tree(source, attributes), is_directory


def _attach_tree(root: int, path: str, tree: int, is_directory: bool) -> None:
    with opened(tree), opened((_directory if is_directory else _file)(root, path)) as target:
        syscalls.attach(tree, target)


def _mask(root: int, path: str, mask: Mask) -> None:
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_RDONLY
    options = {"size": "4k", "mode": "0555"}
    with opened(syscalls.new_filesystem("tmpfs", options, flags & ~ATTR_RDONLY)) as empty:
        if not mask.directory:
            _new_file(empty, "file")
        with (
            opened(syscalls.open_beneath(empty, "." if mask.directory else "file", _PATH)) as what,
            opened(syscalls.clone_tree(what, flags)) as tree,
            opened(syscalls.open_beneath(root, path, _PATH)) as target,
        ):
            syscalls.attach(tree, target)


def _file(root: int, path: str) -> int:
    """Open a file of the new root, making it where it is missing; no link is followed."""
    try:
        return syscalls.open_beneath(root, path, _PATH)
    except FileNotFoundError:
        pass
    above, _, name = path.rpartition("/")
    with opened(_directory(root, above)) as parent:
        _new_file(parent, name)
        return syscalls.open_beneath(parent, name, _PATH)


def _directory(root: int, path: str) -> int:
    """Open a directory of the new root, making what is missing; no link is followed."""
    try:
        return syscalls.open_beneath(root, path or ".", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    above, _, name = path.rpartition("/")
    with opened(_directory(root, above)) as parent:
        os.mkdir(name, 0o755, dir_fd=parent)
        return syscalls.open_beneath(parent, name, os.O_PATH | os.O_DIRECTORY)


def _attach(mount: int, root: int, path: str) -> None:
    with opened(_directory(root, path.lstrip("/"))) as target:
        syscalls.attach(mount, target)


def _mount_new(root: int, path: str, kind: str, options: Mapping[str, str], flags: int) -> None:
    with opened(syscalls.new_filesystem(kind, options, flags)) as mount:
        _attach(mount, root, path)


def _make_devices(root: int, host: int) -> None:
    options = {"size": "64k", "mode": "0755"}
    with opened(syscalls.new_filesystem("tmpfs", options, ATTR_NOSUID | ATTR_NOEXEC)) as dev:
        _attach(dev, root, "dev")
        for name, (major, minor) in _DEVICES.items():
            _make_device(dev, host, name, os.makedev(major, minor))
        for name, to in _DEVICE_LINKS.items():
            os.symlink(to, name, dir_fd=dev)
        for name in ("shm", "pts"):
            os.mkdir(name, 0o755, dir_fd=dev)
        syscalls.set_attributes(dev, ATTR_RDONLY)


def _make_device(dev: int, host: int, name: str, number: int) -> None:
    """Make a node, or show the host's where a container or user namespace forbids making one."""
    try:
        os.mknod(name, 0o600 | stat.S_IFCHR, number, dir_fd=dev)
        os.chmod(name, 0o666, dir_fd=dev)
    except PermissionError:
        _new_file(dev, name)
        with (
            opened(syscalls.open_beneath(host, f"dev/{name}", _PATH)) as source,
            opened(syscalls.clone_tree(source, ATTR_NOSUID | ATTR_NOEXEC)) as tree,
            opened(syscalls.open_beneath(dev, name, _PATH)) as target,
        ):
            syscalls.attach(tree, target)
