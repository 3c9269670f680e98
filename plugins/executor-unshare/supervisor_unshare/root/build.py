"""Build the root that a sandbox enters: the part that all runs share, and the run's own.

The shared part is made once by the helper (template.py), or by each child where the helper has no
right to mount. Nothing of one run is ever written into it: a run's own files and mount points lie
in a file system of its own. Sources and targets are opened by descriptors, no link is followed.

Entries are those of plan_mounts, as plain tuples (`packed`): this module is part of the zygote, of
which each page costs every start.
"""

from __future__ import annotations

import os
import stat

from supervisor_unshare.linux import syscalls
from supervisor_unshare.linux.opened import opened
from supervisor_unshare.linux.syscalls import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY

TYPE_CHECKING = False  # typing itself is a tenth of the memory that a clone would copy
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    Entry = tuple[Any, ...]

SHARED_MEMORY = "/dev/shm"
OWN_FILES = "/run"  # the files of our own that differ from run to run
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
_MASK = "mask"  # file beneath OWN_FILES, while a mask is made of it
_OWN_PLACES = "places"  # directory beneath OWN_FILES that a run sees as MOUNT_ROOT


class Step:
    """The name of what is being done, for the report of a failure."""

    name = "start"


def open_bases(bases: Mapping[str, str]) -> dict[str, int]:
    """Open where sources begin; in the mount namespace from which they are cloned."""
    found: dict[str, int] = {}
    try:
        for base, path in bases.items():
            found[base] = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        for fd in found.values():
            os.close(fd)
        raise
    return found


def build_shared(entries: Sequence[Entry], sources: Mapping[str, int], step: Step) -> int:
    """Mount a new root at NEW_ROOT with what all runs share; give a descriptor, still writable."""
    step.name = "new-root"
    options = {"size": "16m", "mode": "0755"}
    with opened(
        syscalls.new_filesystem("tmpfs", options, ATTR_NOSUID | ATTR_NODEV), keep=True
    ) as root:
        attach_root(root, sources)
        make_entries(root, entries, sources, step)
        step.name = "mount /dev"
        _make_devices(root, sources["host"])
    return root


def attach_root(root: int, sources: Mapping[str, int]) -> None:
    """Attach a detached root at NEW_ROOT."""
    with opened(syscalls.open_beneath(sources["run"], NEW_ROOT, os.O_PATH)) as place:
        syscalls.attach(root, place)


def open_trees(
    entries: Sequence[Entry],
    sources: Mapping[str, int],
    step: Step,
    trees: list[int],
    owners: int | None = None,
) -> list[Entry]:
    """Give the entries with each bind made a tree, a detached copy of the mounts at its source.

    The tree's number is its place in `trees`, to which its descriptor is added, also where a later
    one fails: they are the caller's to close. owners: for mapped ones, see idmap.
    """
    found: list[Entry] = []
    for entry in entries:
        if entry[0] != "bind":
            found.append(entry)
            continue
        step.name = f"mount {entry[1]}"
        if (cut := _cut(entry, sources)) is not None:
            tree, directory = cut
            trees.append(tree)
            if entry[-1] and owners is not None:
                syscalls.map_owners(tree, owners)
            found.append(("tree", entry[1], len(trees) - 1, directory))
    return found


def mount_own(root: int, mount_root: str) -> tuple[int, int]:
    """Give a shared root places for what is the run's own: its files and its mount points.

    Gives the two mounts, still writable. mount_root: where the mount points are seen.
    """
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC
    files = syscalls.new_filesystem("tmpfs", {"size": "1m", "mode": "0755"}, flags)
    os.mkdir(_OWN_PLACES, 0o755, dir_fd=files)
    _attach(files, root, OWN_FILES)
    with opened(syscalls.open_beneath(files, _OWN_PLACES, os.O_PATH | os.O_DIRECTORY)) as source:
        places = syscalls.clone_tree(source, flags)
    _attach(places, root, mount_root)
    return files, places


def mount_kernel(root: int, step: Step, *, entered: bool = False) -> None:
    """Add what the kernel makes for each sandbox anew: /proc, /dev/shm and /dev/pts.

    entered: whether the root is this process's own already.
    """
    step.name = "mount /proc"
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC
    with opened(syscalls.new_filesystem("proc", {}, flags)) as mount:
        if entered:
            syscalls.detach("/proc")  # that of show_proc
        _attach(mount, root, "proc")
    step.name = "mount /dev"
    _mount_new(root, "dev/shm", "tmpfs", {"size": "256m", "mode": "1777"}, flags)
    pts = {"newinstance": "", "ptmxmode": "0666", "mode": "0620", "max": "64"}
    _mount_new(root, "dev/pts", "devpts", pts, ATTR_NOSUID | ATTR_NOEXEC)


def show_proc(root: int, sources: Mapping[str, int], step: Step) -> None:
    """Show the host's /proc, for as long as a root is only copied.

    In a user namespace the kernel lets a /proc be mounted beside another one only, which is whole.
    """
    step.name = "mount /proc"
    with opened(syscalls.open_beneath(sources["host"], "proc", os.O_PATH)) as source:
        tree = syscalls.clone_tree(source, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
    _attach_tree(root, "proc", tree, True)


def make_entries(
    root: int,
    entries: Sequence[Entry],
    sources: Mapping[str, int],
    step: Step,
    trees: Sequence[int] = (),
) -> None:
    """Make entries in a root that is still writable; closes the trees that it attaches."""
    for entry in entries:
        kind, target, *rest = entry
        step.name = f"mount {target}"
        path = target.lstrip("/")
        if kind == "bind":
            if (cut := _cut(entry, sources)) is not None:
                _attach_tree(root, path, *cut)
        elif kind == "tree":
            number, is_directory = rest
            _attach_tree(root, path, trees[number], is_directory)
        elif kind == "volatile":
            _make_volatile(root, target, *rest)
        elif kind == "mask":
            _mask(root, path, *rest)
        elif kind == "directory":
            os.close(_directory(root, path))
        else:
            _make_named(root, path, kind, *rest)


def _make_named(root: int, path: str, kind: str, content: str) -> None:
    """Make a link to `content`, or a file of it."""
    above, _, name = path.rpartition("/")
    with opened(_directory(root, above)) as parent:
        if kind == "link":
            os.symlink(content, name, dir_fd=parent)
        else:
            _new_file(parent, name, content)


def _make_volatile(
    root: int,
    target: str,
    size: int,
    uid: int,
    gid: int,
    shows: Sequence[tuple[str, str]],
) -> None:
    owner = {"uid": str(uid), "gid": str(gid), "mode": "0700"}
    flags = ATTR_NOSUID | ATTR_NODEV
    with opened(syscalls.new_filesystem("tmpfs", {"size": str(size), **owner}, flags)) as mount:
        _attach(mount, root, target)
        for name, place in shows:
            if name:
                os.mkdir(name, 0o700, dir_fd=mount)
                os.chown(name, uid, gid, dir_fd=mount, follow_symlinks=False)
            no_exec = ATTR_NOEXEC if place == SHARED_MEMORY else 0
            with (
                opened(syscalls.open_beneath(mount, name or ".", os.O_PATH | os.O_DIRECTORY)) as it,
                opened(syscalls.clone_tree(it, flags | no_exec)) as tree,
            ):
                _attach(tree, root, place)


def _new_file(parent: int, name: str, text: str = "") -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with opened(os.open(name, flags, 0o644, dir_fd=parent)) as file:
        os.write(file, text.encode())


def _cut(bind: Entry, sources: Mapping[str, int]) -> tuple[int, bool] | None:
    """Give a detached copy of the mounts at a source and whether it is a directory."""
    _, _, base, path, writable, optional, _ = bind
    try:
        source = syscalls.open_beneath(sources[base], path, _PATH)
    except FileNotFoundError:
        if optional:
            return None
        raise
    with opened(source):
        attributes = ATTR_NOSUID | ATTR_NODEV | (0 if writable else ATTR_RDONLY)
        is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
        return syscalls.clone_tree(source, attributes), is_directory


def _attach_tree(root: int, path: str, tree: int, is_directory: bool) -> None:
    with opened(tree), opened((_directory if is_directory else _file)(root, path)) as target:
        syscalls.attach(tree, target)


def _mask(root: int, path: str, is_directory: bool) -> None:
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC | ATTR_RDONLY
    with opened(syscalls.open_beneath(root, path, _PATH)) as target:
        if is_directory:
            options = {"size": "4k", "mode": "0555"}
            with opened(syscalls.new_filesystem("tmpfs", options, flags)) as empty:
                syscalls.attach(empty, target)
            return
        # Before Linux 6.15 nothing can be cloned out of a mount that is not attached.
        with opened(_directory(root, OWN_FILES.lstrip("/"))) as files:
            _new_file(files, _MASK)
            with (
                opened(syscalls.open_beneath(files, _MASK, _PATH)) as empty,
                opened(syscalls.clone_tree(empty, flags)) as tree,
            ):
                syscalls.attach(tree, target)
            os.unlink(_MASK, dir_fd=files)


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
    except PermissionError:
        _new_file(dev, name)
        with (
            opened(syscalls.open_beneath(host, f"dev/{name}", _PATH)) as source,
            opened(syscalls.clone_tree(source, ATTR_NOSUID | ATTR_NOEXEC)) as tree,
            opened(syscalls.open_beneath(dev, name, _PATH)) as target,
        ):
            syscalls.attach(tree, target)
    else:
        os.chmod(name, 0o666, dir_fd=dev)
