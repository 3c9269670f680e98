"""Build the root that a sandbox enters: the part that all runs share, and the run's own.

The shared part is made once by the helper (template.py), or by each child where the helper has no
right to mount. Nothing of one run is ever written into it: a run's own files and mount points lie
in a file system of its own. Sources and targets are opened by descriptors, no link is followed.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping, Sequence

from supervisor.layout import MOUNT_ROOT
from supervisor_unshare import syscalls
from supervisor_unshare.plan_mounts import (
    OWN_FILES,
    SHARED_MEMORY,
    Base,
    Bind,
    Directory,
    Entry,
    File,
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
    return {base: os.open(path, os.O_PATH | os.O_CLOEXEC) for base, path in bases.items()}


def build_shared(entries: Sequence[Entry], sources: Mapping[Base, int], step: Step) -> int:
    """Mount a new root at NEW_ROOT with what all runs share; give a descriptor, still writable."""
    step.name = "new-root"
    options = {"size": "16m", "mode": "0755"}
    root = syscalls.new_filesystem("tmpfs", options, ATTR_NOSUID | ATTR_NODEV)
    attach_root(root, sources)
    make_entries(root, entries, sources, step)
    step.name = "mount /dev"
    _make_devices(root, sources[Base.HOST])
    return root


def attach_root(root: int, sources: Mapping[Base, int]) -> None:
    """Attach a detached root at NEW_ROOT."""
    place = syscalls.open_beneath(sources[Base.RUN], NEW_ROOT, os.O_PATH)
    syscalls.attach(root, place)
    os.close(place)


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
    source = syscalls.open_beneath(files, _OWN_PLACES, os.O_PATH | os.O_DIRECTORY)
    places = syscalls.clone_tree(source, flags)
    os.close(source)
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
    parent = _directory(root, above)
    if isinstance(entry, Link):
        os.symlink(entry.to, name, dir_fd=parent)
    else:
        _new_file(parent, name, entry)
    os.close(parent)


def _make_volatile(root: int, entry: Volatile) -> None:
    owner = {"uid": str(entry.uid), "gid": str(entry.gid), "mode": "0700"}
    flags = ATTR_NOSUID | ATTR_NODEV
    mount = syscalls.new_filesystem("tmpfs", {"size": str(entry.size), **owner}, flags)
    _attach(mount, root, entry.target)
    for name, target in entry.shows:
        if name:
            os.mkdir(name, 0o700, dir_fd=mount)
            os.chown(name, entry.uid, entry.gid, dir_fd=mount, follow_symlinks=False)
        source = syscalls.open_beneath(mount, name or ".", os.O_PATH | os.O_DIRECTORY)
        no_exec = ATTR_NOEXEC if target == SHARED_MEMORY else 0
        tree = syscalls.clone_tree(source, flags | no_exec)
        os.close(source)
        _attach(tree, root, target)
        os.close(tree)
    os.close(mount)


def _new_file(parent: int, name: str, entry: File) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(name, flags, 0o644, dir_fd=parent)
    os.write(fd, entry.text.encode())
    os.close(fd)


def _cut(bind: Bind, base: int) -> tuple[int, bool] | None:
    """Give a detached copy of the mounts at a source and whether it is a directory."""
    try:
        source = syscalls.open_beneath(base, "/".join(bind.parts), _PATH)
    except FileNotFoundError:
        if bind.optional:
            return None
        raise
    try:
        attributes = ATTR_NOSUID | ATTR_NODEV | (0 if bind.writable else ATTR_RDONLY)
        is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
        return syscalls.clone_tree(source, attributes), is_directory
    finally:
        os.close(source)


def _attach_tree(root: int, path: str, tree: int, is_directory: bool) -> None:
    target = _directory(root, path) if is_directory else _file(root, path)
    syscalls.attach(tree, target)
    os.close(target)
    os.close(tree)


def _mask(root: int, path: str, mask: Mask) -> None:
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_RDONLY
    empty = syscalls.new_filesystem("tmpfs", {"size": "4k", "mode": "0555"}, flags & ~ATTR_RDONLY)
    if not mask.directory:
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o444, dir_fd=empty))
    source = empty if mask.directory else syscalls.open_beneath(empty, "file", _PATH)
    tree = syscalls.clone_tree(source, flags)
    target = syscalls.open_beneath(root, path, _PATH)
    syscalls.attach(tree, target)
    for fd in {empty, source, tree, target}:
        os.close(fd)


def _file(root: int, path: str) -> int:
    """Open a file of the new root, making it where it is missing; no link is followed."""
    try:
        return syscalls.open_beneath(root, path, _PATH)
    except FileNotFoundError:
        pass
    above, _, name = path.rpartition("/")
    parent = _directory(root, above)
    _new_file(parent, name, File(target=path, text=""))
    found = syscalls.open_beneath(parent, name, _PATH)
    os.close(parent)
    return found


def _directory(root: int, path: str) -> int:
    """Open a directory of the new root, making what is missing; no link is followed."""
    try:
        return syscalls.open_beneath(root, path or ".", os.O_PATH | os.O_DIRECTORY)
    except FileNotFoundError:
        pass
    above, _, name = path.rpartition("/")
    parent = _directory(root, above)
    os.mkdir(name, 0o755, dir_fd=parent)
    found = syscalls.open_beneath(parent, name, os.O_PATH | os.O_DIRECTORY)
    os.close(parent)
    return found


def _attach(mount: int, root: int, path: str) -> None:
    target = _directory(root, path.lstrip("/"))
    syscalls.attach(mount, target)
    os.close(target)


def _mount_new(root: int, path: str, kind: str, options: Mapping[str, str], flags: int) -> None:
    mount = syscalls.new_filesystem(kind, options, flags)
    _attach(mount, root, path)
    os.close(mount)


def _make_devices(root: int, host: int) -> None:
    options = {"size": "64k", "mode": "0755"}
    dev = syscalls.new_filesystem("tmpfs", options, ATTR_NOSUID | ATTR_NOEXEC)
    _attach(dev, root, "dev")
    for name, (major, minor) in _DEVICES.items():
        _make_device(dev, host, name, os.makedev(major, minor))
    for name, to in _DEVICE_LINKS.items():
        os.symlink(to, name, dir_fd=dev)
    for name in ("shm", "pts"):
        os.mkdir(name, 0o755, dir_fd=dev)
    syscalls.set_attributes(dev, ATTR_RDONLY)
    os.close(dev)


def _make_device(dev: int, host: int, name: str, number: int) -> None:
    """Make a node, or show the host's where a container or user namespace forbids making one."""
    try:
        os.mknod(name, 0o600 | stat.S_IFCHR, number, dir_fd=dev)
        os.chmod(name, 0o666, dir_fd=dev)
    except PermissionError:
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644, dir_fd=dev))
        source = syscalls.open_beneath(host, f"dev/{name}", _PATH)
        tree = syscalls.clone_tree(source, ATTR_NOSUID | ATTR_NOEXEC)
        os.close(source)
        target = syscalls.open_beneath(dev, name, _PATH)
        syscalls.attach(tree, target)
        os.close(target)
        os.close(tree)
