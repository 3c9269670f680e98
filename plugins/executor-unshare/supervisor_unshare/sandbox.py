"""What happens between clone and exec: build the root, enter it, give up every right, be init.

Each step is named before it is done; a step that fails is reported with its name and errno, and
the child ends. Nothing here is skipped over: no step's result goes unchecked.
"""

from __future__ import annotations

import os
import resource
import signal
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from supervisor_unshare import init, syscalls
from supervisor_unshare.plan_mounts import Base, Bind, Directory, Entry, File, Link
from supervisor_unshare.syscalls import ATTR_NODEV, ATTR_NOEXEC, ATTR_NOSUID, ATTR_RDONLY

NAMESPACES = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
)
NEW_ROOT = "newroot"  # directory of RunDir on which each sandbox, in its own namespace, builds
_DEVICES = {
    "null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9),
    "tty": (5, 0),
}  # fmt: skip
_DEVICE_LINKS = {
    "fd": "/proc/self/fd", "stdin": "/proc/self/fd/0", "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2", "ptmx": "pts/ptmx",
}  # fmt: skip
_OOM_SCORE = b"300"  # content dies before the services that serve it
_PATH = os.O_PATH | os.O_NOFOLLOW


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All that the child needs. bases: the host paths at which sources begin.

    report, stdout and stderr are descriptors; rlimits maps resource numbers to (soft, hard);
    user_namespace: the caller is not root.
    """

    entries: Sequence[Entry]
    bases: Mapping[Base, str]
    uid: int
    gid: int
    argv: Sequence[str]
    env: Mapping[str, str]
    workdir: str
    rlimits: Mapping[int, tuple[int, int]]
    report: int
    stdout: int
    stderr: int
    user_namespace: bool


class _Step:
    name = "start"


def run(spec: Spec, groups: Sequence[int]) -> NoReturn:
    """Become the sandbox. Called in the child of syscalls.clone; never returns.

    groups: open cgroup.procs files of the groups that the child is to join.
    """
    step = _Step()
    try:
        _isolate(spec, groups, step)
        main = _spawn(spec, step)
        init.watch(main, spec.report)
    except BaseException as error:
        _fail(spec.report, step.name, error)
    finally:
        os._exit(127)


def _isolate(spec: Spec, groups: Sequence[int], step: _Step) -> None:
    step.name = "die-with-parent"
    syscalls.die_with_parent()
    syscalls.name_process("content-init")
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # the launcher's, see there
    os.setsid()
    step.name = "cgroup"
    for procs in groups:
        os.write(procs, b"0")
    step.name = "descriptors"
    syscalls.close_all_but({0, 1, 2, spec.report, spec.stdout, spec.stderr})
    step.name = "keyring"
    syscalls.leave_keyring()  # the service's may hold keys of whoever started it
    if spec.user_namespace:
        step.name = "user-namespace"
        _map_own_ids(spec.uid, spec.gid)
    step.name = "mounts"
    os.umask(0o022)
    syscalls.make_mounts_private()
    root = _build_root(spec, step)
    step.name = "enter-root"
    syscalls.enter_root(root)
    syscalls.set_attributes(root, ATTR_RDONLY)
    os.close(root)
    step.name = "limits"
    _write("/proc/self/oom_score_adj", _OOM_SCORE)
    step.name = "identity"
    _give_up_rights(spec)


def _map_own_ids(uid: int, gid: int) -> None:
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/gid_map", b"%d %d 1" % (gid, gid))
    _write("/proc/self/uid_map", b"%d %d 1" % (uid, uid))


def _give_up_rights(spec: Spec) -> None:
    syscalls.drop_bounding_set()
    if not spec.user_namespace:
        os.setgroups([])
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    syscalls.drop_capabilities()
    syscalls.hide_memory()
    syscalls.die_with_parent()  # the change of uid has cleared it
    syscalls.forbid_new_privileges()
    # Landlock and the seccomp filter belong here, last: nothing after them needs a privilege.
    os.umask(0o027)


def _build_root(spec: Spec, step: _Step) -> int:
    """Build the new root in a tmpfs and give a descriptor of it."""
    sources = {base: os.open(path, os.O_PATH | os.O_CLOEXEC) for base, path in spec.bases.items()}
    step.name = "new-root"
    options = {"size": "16m", "mode": "0755"}
    tmpfs = syscalls.new_filesystem("tmpfs", options, ATTR_NOSUID | ATTR_NODEV)
    place = syscalls.open_beneath(sources[Base.RUN], NEW_ROOT, os.O_PATH)
    syscalls.attach(tmpfs, place)
    os.close(place)
    for entry in spec.entries:
        step.name = f"mount {entry.target}"
        _make_entry(tmpfs, entry, sources)
    step.name = "mount /proc"
    proc = syscalls.new_filesystem("proc", {}, ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC)
    _attach_beneath(tmpfs, "proc", proc)
    step.name = "mount /dev"
    _make_devices(tmpfs, sources[Base.HOST])
    for source in sources.values():
        os.close(source)
    return tmpfs


def _make_entry(root: int, entry: Entry, sources: Mapping[Base, int]) -> None:
    path = entry.target.lstrip("/")
    if isinstance(entry, Bind):
        _bind(root, path, entry, sources[entry.base])
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


def _new_file(parent: int, name: str, entry: File) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(name, flags, 0o644, dir_fd=parent)
    os.write(fd, entry.text.encode())
    os.close(fd)


def _bind(root: int, path: str, bind: Bind, base: int) -> None:
    try:
        source = syscalls.open_beneath(base, "/".join(bind.parts), _PATH)
    except FileNotFoundError:
        if bind.optional:
            return
        raise
    attributes = ATTR_NOSUID | ATTR_NODEV | (0 if bind.writable else ATTR_RDONLY)
    tree = syscalls.clone_tree(source, attributes)
    is_directory = stat.S_ISDIR(os.fstat(source).st_mode)
    os.close(source)
    if is_directory:
        target = _directory(root, path)
    else:
        above, _, name = path.rpartition("/")
        parent = _directory(root, above)
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        os.close(os.open(name, flags, 0o644, dir_fd=parent))
        target = syscalls.open_beneath(parent, name, _PATH)
        os.close(parent)
    syscalls.attach(tree, target)
    os.close(target)
    os.close(tree)


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


def _attach_beneath(root: int, path: str, mount: int) -> None:
    target = _directory(root, path)
    syscalls.attach(mount, target)
    os.close(target)
    os.close(mount)


def _make_devices(root: int, host: int) -> None:
    options = {"size": "64k", "mode": "0755"}
    dev = syscalls.new_filesystem("tmpfs", options, ATTR_NOSUID | ATTR_NOEXEC)
    target = _directory(root, "dev")
    syscalls.attach(dev, target)
    os.close(target)
    for name, (major, minor) in _DEVICES.items():
        _make_device(dev, host, name, os.makedev(major, minor))
    for name, to in _DEVICE_LINKS.items():
        os.symlink(to, name, dir_fd=dev)
    shm = {"size": "256m", "mode": "1777"}
    flags = ATTR_NOSUID | ATTR_NODEV | ATTR_NOEXEC
    _attach_beneath(dev, "shm", syscalls.new_filesystem("tmpfs", shm, flags))
    pts = {"newinstance": "", "ptmxmode": "0666", "mode": "0620", "max": "64"}
    flags = ATTR_NOSUID | ATTR_NOEXEC
    _attach_beneath(dev, "pts", syscalls.new_filesystem("devpts", pts, flags))
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


def _spawn(spec: Spec, step: _Step) -> int:
    """Start the content's process and give its pid; raises OSError where its exec fails.

    posix_spawn shares memory until the exec: a fork would copy this interpreter's page tables.
    """
    step.name = "limits"
    for number, limits in spec.rlimits.items():
        resource.setrlimit(number, limits)
    step.name = f"workdir {spec.workdir}"
    os.chdir(spec.workdir)
    step.name = f"exec {spec.argv[0]}"
    init.queue_signals()
    pid = os.posix_spawn(
        spec.argv[0],
        list(spec.argv),
        dict(spec.env),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, spec.stdout, 1),
            (os.POSIX_SPAWN_DUP2, spec.stderr, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP},
    )
    os.close(spec.stdout)
    os.close(spec.stderr)
    return pid


def _fail(fd: int, step: str, error: BaseException) -> None:
    number = error.errno if isinstance(error, OSError) else None
    init.report(fd, step=step, errno=number, message=str(error) or type(error).__name__)


def _write(path: str, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
