"""What happens between clone and exec: build the root, enter it, give up every right, be init.

First what all runs of a kind have in common, which may be done before there is a job (pool.py);
then, once the job has come, what is its own. Each step is named before it is done; a step that
fails is reported with its name and errno, and the child ends. Nothing here is skipped over: no
step's result goes unchecked.
"""

from __future__ import annotations

import _socket
import ctypes
import errno
import os
import resource

from supervisor_unshare.linux import bare_signal as signal
from supervisor_unshare.linux import handing, landlock, syscalls
from supervisor_unshare.root import build
from supervisor_unshare.root.build import Step
from supervisor_unshare.sandbox import init

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any, NoReturn

    from supervisor_unshare.network.own_network import OwnNetwork

NAMESPACES = (
    syscalls.CLONE_NEWNS | syscalls.CLONE_NEWPID | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS
)
LAYERS = frozenset({"landlock", "seccomp"})  # what the settings may leave out
# Made here, not in the child: each page that it writes to is copied first.
_WAITING = ctypes.create_string_buffer(b"content-next")
NAME = ctypes.create_string_buffer(b"content-init")
CATCHABLE = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
OOM_SCORE = b"300"  # content dies before the services that serve it
HOST, OWN, LINKED = "host", "own", "linked"  # networks


class Kind:
    """What is known before the job.

    confined: there are no namespaces (confined.py). built: the mount namespace holds the shared
    part of the root and nothing else; the run's own mount points are then seen at `mount_root`.
    ids: the uid and gid of the caller, where it is not root and needs a user namespace. bounded:
    there is no bounding set to inherit. landlock: its version here, 0 for none; filter: the
    program for system calls, b"" for none; asking: the same for a kernel that tells which call it
    refuses. network: HOST, OWN, which is made at once, or LINKED,
    which is made for the job.
    """

    def __init__(
        self,
        *,
        confined: bool,
        built: bool,
        mount_root: str,
        ids: tuple[int, int] | None,
        bounded: bool,
        landlock: int,
        filter: bytes,
        asking: bytes,
        network: str = HOST,
    ) -> None:
        self.confined = confined
        self.built = built
        self.mount_root = mount_root
        self.ids = ids
        self.bounded = bounded
        self.landlock = landlock
        self.filter = filter
        self.asking = asking
        self.network = network


class Spec:
    """What is the job's own. entries, shared: packed.

    shared, bases: the other entries and the host paths at which sources begin, where nothing is
    built yet. writable: where it may change files; listening: where it may make sockets alone.
    tmp: how many bytes of temporary files there may be. rlimits: resource number → (soft, hard).
    network: the fields of network.Network.
    """

    def __init__(
        self,
        *,
        entries: Sequence[tuple[Any, ...]],
        shared: Sequence[tuple[Any, ...]],
        bases: Mapping[str, str],
        writable: Sequence[str],
        listening: Sequence[str],
        uid: int,
        gid: int,
        groups: Sequence[int],
        argv: Sequence[str],
        env: Mapping[str, str],
        workdir: str,
        nice: int,
        tmp: int | None,
        rlimits: Mapping[int, tuple[int, int]],
        network: tuple[Any, ...],
    ) -> None:
        self.entries = entries
        self.shared = shared
        self.bases = bases
        self.writable = writable
        self.listening = listening
        self.uid = uid
        self.gid = gid
        self.groups = groups
        self.argv = argv
        self.env = env
        self.workdir = workdir
        self.nice = nice
        self.tmp = tmp
        self.rlimits = rlimits
        self.network = network


def live(kind: Kind, job: int, report: int, groups: Sequence[int]) -> NoReturn:
    """Become a sandbox, and the init of the job that comes. In the child of a clone; never returns.

    job: the socket on which the job comes; its end means: end. report: a pipe to the helper.
    groups: open cgroup.procs files of the groups to join.
    """
    step = Step()
    try:
        _isolate(kind, job, report, groups, step)
        mounts = _prepare_root(kind, step) if kind.built else []
        step.name = "job"
        sock = _socket.socket(fileno=job)
        handed = handing.receive(sock)
        if handed is None:
            os._exit(0)
        sock.close()
        fields, (stdout, stderr, *trees) = handed
        spec = Spec(**fields)
        network = _network(kind, spec, trees)
        step.name = "name"
        syscalls.name_process(NAME)
        if kind.built:
            build.make_entries(mounts[0], spec.entries, {}, step, trees)
        else:
            mounts = _build_root(spec, step)
        step.name = "enter-root"
        for mount in mounts:
            syscalls.set_attributes(mount, syscalls.ATTR_RDONLY)
            os.close(mount)
        step.name = "network"
        ready = kind.network == OWN
        link = None if network is None else network.enter(ready=ready)
        if link is not None and kind.ids is not None:
            # The network belongs to our own user: have no right over it.
            syscalls.new_user_namespace()
            map_own_ids(*kind.ids)
        listener = _confine(kind, spec, step)
        if network is not None:
            network.open_door()
        main = _spawn(spec, stdout, stderr, step)
        init.watch(main, report, link, listener=listener, tmp=spec.tmp)
    except BaseException as error:
        fail(report, step.name, error)
    finally:
        os._exit(127)


def _isolate(kind: Kind, job: int, report: int, groups: Sequence[int], step: Step) -> None:
    step.name = "die-with-parent"
    syscalls.die_with_parent()
    syscalls.name_process(_WAITING)
    leave_service(job, report, groups, step)
    if kind.ids is not None:
        step.name = "user-namespace"
        map_own_ids(*kind.ids)
    if kind.network == OWN:
        step.name = "network"
        load_network().prepare()
    step.name = "mounts"
    os.umask(0o022)
    syscalls.make_mounts_private()


def leave_service(job: int, report: int, groups: Sequence[int], step: Step) -> None:
    """Have a session, control groups and a keyring of one's own, and these descriptors alone."""
    os.setsid()
    step.name = "cgroup"
    for procs in groups:
        os.write(procs, b"0")
    step.name = "descriptors"
    syscalls.close_all_but({0, 1, 2, job, report})
    step.name = "keyring"
    syscalls.leave_keyring()  # the service's may hold keys of whoever started it


def _prepare_root(kind: Kind, step: Step) -> list[int]:
    """Add to the built root what needs no job; give the mounts that are to become read-only."""
    step.name = "new-root"
    made = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    mounts = [made, *build.mount_own(made, kind.mount_root)]
    build.mount_kernel(made, step, entered=True)
    return mounts


def _build_root(spec: Spec, step: Step) -> list[int]:
    """Build and enter a whole root; gives the mounts that are to become read-only."""
    sources = build.open_bases(spec.bases)
    made = build.build_shared(spec.shared, sources, step)
    build.mount_kernel(made, step)
    build.make_entries(made, spec.entries, sources, step)
    for source in sources.values():
        os.close(source)
    step.name = "enter-root"
    syscalls.enter_root(made)
    return [made]


def load_network() -> type[OwnNetwork]:
    """Load what only a network of its own needs; in the zygote, which sees the host's files."""
    from supervisor_unshare.network.own_network import OwnNetwork

    return OwnNetwork


def _network(kind: Kind, spec: Spec, trees: list[int]) -> OwnNetwork | None:
    if kind.network == HOST:
        return None
    return load_network()(spec.network, trees, built=kind.built)


def map_own_ids(uid: int, gid: int) -> None:
    """Be in a new user namespace who one is outside, and nobody else."""
    write("/proc/self/setgroups", b"deny")
    write("/proc/self/gid_map", b"%d %d 1" % (gid, gid))
    write("/proc/self/uid_map", b"%d %d 1" % (uid, uid))


def _confine(kind: Kind, spec: Spec, step: Step) -> int | None:
    """Give what the filter of calls tells of those that it refuses, where the kernel can."""
    step.name = "limits"
    write("/proc/self/oom_score_adj", OOM_SCORE)
    step.name = "identity"
    _give_up_rights(kind, spec)
    # Last, since nothing after them needs what they forbid.
    if kind.landlock:
        step.name = "landlock"
        landlock.restrict(kind.landlock, spec.writable, spec.listening)
    if kind.filter:
        step.name = "seccomp"
        return _filter_calls(kind)
    return None


def _filter_calls(kind: Kind) -> int | None:
    try:
        return syscalls.filter_calls(kind.asking, listen=True)
    except OSError as error:
        # An old kernel, or a container whose own filter has a listener or knows no such call.
        if error.errno not in (errno.EINVAL, errno.EBUSY, errno.ENOSYS, errno.EPERM):
            raise
    syscalls.filter_calls(kind.filter)
    return None


def _give_up_rights(kind: Kind, spec: Spec) -> None:
    if not kind.bounded:
        syscalls.drop_bounding_set()
    if kind.ids is None:
        os.setgroups(spec.groups)
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    syscalls.drop_capabilities()
    syscalls.hide_memory()
    syscalls.die_with_parent()  # the change of uid has cleared it
    syscalls.forbid_new_privileges()
    os.umask(0o027)


def _spawn(spec: Spec, stdout: int, stderr: int, step: Step) -> int:
    """Start the content's process and give its pid; raises OSError where its exec fails.

    posix_spawn shares memory until the exec: a fork would copy this interpreter's page tables.
    """
    step.name = "limits"
    for number, limits in spec.rlimits.items():
        resource.setrlimit(number, limits)
    os.nice(spec.nice)
    step.name = f"workdir {spec.workdir}"
    os.chdir(spec.workdir)
    step.name = f"exec {spec.argv[0]}"
    init.queue_signals()
    pid = os.posix_spawn(
        spec.argv[0],
        list(spec.argv),
        spec.env,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, stdout, 1),
            (os.POSIX_SPAWN_DUP2, stderr, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=CATCHABLE,
    )
    os.close(stdout)
    os.close(stderr)
    return pid


def fail(fd: int, step: str, error: BaseException) -> None:
    """Tell the launcher which step failed, and with what."""
    number = error.errno if isinstance(error, OSError) else None
    init.report_failure(fd, step, number, str(error) or type(error).__name__)


def write(path: str, data: bytes) -> None:
    """Write a file that is there, such as one of /proc."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, data)
    finally:
        os.close(fd)
