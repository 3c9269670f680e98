"""What happens between clone and exec: build the root, enter it, give up every right, be init.

Each step is named before it is done; a step that fails is reported with its name and errno, and
the child ends. Nothing here is skipped over: no step's result goes unchecked.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from supervisor_unshare import filters, init, landlock, root, syscalls
from supervisor_unshare.plan_mounts import Base, Entry, writable
from supervisor_unshare.root import Step

NAMESPACES = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
)
LAYERS = frozenset({"landlock", "seccomp"})  # what the settings may leave out
# Made here, not in the child: each page that it writes to is copied first.
_NAME = ctypes.create_string_buffer(b"content-init")
_CATCHABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
_OOM_SCORE = b"300"  # content dies before the services that serve it


@dataclass(frozen=True, kw_only=True)
class Layers:
    """What holds besides namespaces and mounts, where the host has it.

    landlock: the version of it, 0 for none; filter: the program for system calls, b"" for none.
    """

    landlock: int
    filter: bytes

    @classmethod
    def but(cls, without: Collection[str]) -> Layers:
        """Give those that this host has, but some of LAYERS."""
        return cls(
            landlock=0 if "landlock" in without else landlock.version(),
            filter=b"" if "seccomp" in without else filters.program(),
        )


@dataclass(frozen=True, kw_only=True)
class Spec:
    """All that the child needs. bases: the host paths at which sources begin.

    template: a copy of the root that is built already, or None to build it of `shared`.
    report, stdout and stderr are descriptors; rlimits maps resource numbers to (soft, hard);
    user_namespace: the caller is not root. bounded: it has no bounding set to inherit.
    """

    template: int | None
    shared: Sequence[Entry]
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
    bounded: bool
    layers: Layers


def run(spec: Spec, groups: Sequence[int]) -> NoReturn:
    """Become the sandbox. Called in the child of syscalls.clone; never returns.

    groups: open cgroup.procs files of the groups that the child is to join.
    """
    step = Step()
    try:
        _isolate(spec, groups, step)
        main = _spawn(spec, step)
        init.watch(main, spec.report)
    except BaseException as error:
        _fail(spec.report, step.name, error)
    finally:
        os._exit(127)


def _isolate(spec: Spec, groups: Sequence[int], step: Step) -> None:
    step.name = "die-with-parent"
    syscalls.die_with_parent()
    syscalls.name_process(_NAME)
    signal.signal(signal.SIGUSR1, signal.SIG_DFL)  # the launcher's, see there
    os.setsid()
    step.name = "cgroup"
    for procs in groups:
        os.write(procs, b"0")
    step.name = "descriptors"
    keep = {0, 1, 2, spec.report, spec.stdout, spec.stderr}
    syscalls.close_all_but(keep if spec.template is None else keep | {spec.template})
    step.name = "keyring"
    syscalls.leave_keyring()  # the service's may hold keys of whoever started it
    if spec.user_namespace:
        step.name = "user-namespace"
        map_own_ids(spec.uid, spec.gid)
    step.name = "mounts"
    os.umask(0o022)
    syscalls.make_mounts_private()
    mounts = _build_root(spec, step)
    step.name = "enter-root"
    syscalls.enter_root(mounts[0])
    for mount in mounts:
        syscalls.set_attributes(mount, syscalls.ATTR_RDONLY)
        os.close(mount)
    step.name = "limits"
    _write("/proc/self/oom_score_adj", _OOM_SCORE)
    step.name = "identity"
    _give_up_rights(spec)
    # Last, since nothing after them needs what they forbid.
    if spec.layers.landlock:
        step.name = "landlock"
        landlock.restrict(spec.layers.landlock, writable(spec.entries))
    if spec.layers.filter:
        step.name = "seccomp"
        syscalls.filter_calls(spec.layers.filter)


def _build_root(spec: Spec, step: Step) -> list[int]:
    """Give the mounts that are to become read-only, the new root first."""
    sources = root.open_bases(spec.bases)
    if spec.template is None:
        mounts = [root.build_shared(spec.shared, sources, step)]
    else:
        step.name = "new-root"
        root.attach_root(spec.template, sources)
        mounts = [spec.template, *root.mount_own(spec.template)]
    root.build_own(mounts[0], spec.entries, sources, step)
    for source in sources.values():
        os.close(source)
    return mounts


def map_own_ids(uid: int, gid: int) -> None:
    """Be in a new user namespace who one is outside, and nobody else."""
    _write("/proc/self/setgroups", b"deny")
    _write("/proc/self/gid_map", b"%d %d 1" % (gid, gid))
    _write("/proc/self/uid_map", b"%d %d 1" % (uid, uid))


def _give_up_rights(spec: Spec) -> None:
    if not spec.bounded:
        syscalls.drop_bounding_set()
    if not spec.user_namespace:
        os.setgroups([])
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    syscalls.drop_capabilities()
    syscalls.hide_memory()
    syscalls.die_with_parent()  # the change of uid has cleared it
    syscalls.forbid_new_privileges()
    os.umask(0o027)


def _spawn(spec: Spec, step: Step) -> int:
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
        setsigdef=_CATCHABLE,
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
