"""The system calls that Python does not offer, through ctypes; every result is checked.

Numbers for x86-64 and aarch64. The library is opened with the interpreter lock held across calls
(PyDLL): the launcher has one thread, and `clone` must return into a child that holds the lock.
Needs Linux 5.14 (cgroup.kill) and works from 5.12 (mount_setattr) on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from supervisor_unshare.linux import bare_signal as signal
from supervisor_unshare.linux import beneath

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_MACHINE = os.uname().machine

CLONE_PARENT = 0x00008000
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
_ATTR_IDMAP = 0x00100000
_CLONE_NEWNET = 0x40000000
_CLONE_PIDFD = 0x00001000
_CLONE_INTO_CGROUP = 0x2_0000_0000

ATTR_RDONLY = 0x1
ATTR_NOSUID = 0x2
ATTR_NODEV = 0x4
ATTR_NOEXEC = 0x8
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_MS_MOVE = 0x2000
_MNT_DETACH = 2
_UMOUNT_NOFOLLOW = 8

_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x04
_MOVE_MOUNT_T_EMPTY_PATH = 0x40
_FSCONFIG_SET_FLAG, _FSCONFIG_SET_STRING, _FSCONFIG_CMD_CREATE = 0, 1, 6

_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_NAME = 15
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITY_HEADER = struct.pack("Ii", 0x20080522, 0)  # version 3, of oneself
_NO_CAPABILITIES = bytes(6 * 4)
_KEYCTL_JOIN_SESSION_KEYRING = 1
_SECCOMP_SET_FILTER = 1
_SECCOMP_NEW_LISTENER = 8

# Calls made since 2019 have one number everywhere.
_COMMON = {
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}
NUMBERS: dict[str, dict[str, int]] = {
    "x86_64": {
        "clone": 56, "capget": 125, "capset": 126, "pivot_root": 155, "umount2": 166,
        "keyctl": 250, "seccomp": 317, **_COMMON,
    },
    "aarch64": {
        "clone": 220, "capget": 90, "capset": 91, "pivot_root": 41, "umount2": 39,
        "keyctl": 219, "seccomp": 277, **_COMMON,
    },
}  # fmt: skip
# Arguments are made before the first clone where they can be: after it, each page that helper or
# child writes to is copied first.
_NUMBER = {name: ctypes.c_long(number) for name, number in NUMBERS.get(_MACHINE, {}).items()}

_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_HOW = struct.Struct("QQQ")  # open_how
_MOUNT_ATTR = struct.Struct("QQQQ")


def _checked(result: int, what: str) -> int:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _call(name: str, *arguments: object) -> int:
    number = _NUMBER.get(name)
    if number is None:
        raise OSError(errno.ENOSYS, f"{name} is not known on {_MACHINE}")
    # An int of a variadic call would be passed as 32 bits.
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(_libc.syscall(number, *wide), name)


def _prctl(option: int, argument: int = 0) -> int:
    return _checked(_libc.prctl(option, argument, 0, 0, 0), "prctl")


def _mount(source: bytes | None, target: bytes, flags: int) -> None:
    _checked(_libc.mount(source, target, None, ctypes.c_ulong(flags), None), "mount")


def clone(flags: int, group: int | None = None) -> tuple[int, int]:
    """Fork into new namespaces; give (pid, pidfd) to the parent and (0, -1) to the child.

    group: a directory of cgroup v2 in which the child begins its life, which takes no time, while
    joining later waits for milliseconds. Raises OSError ENOSYS for a group where a container
    filters clone3. With CLONE_PARENT the child is one of our parent's. Only for a process with one
    thread.
    """
    pidfd = ctypes.c_int(-1)
    if group is not None:
        where, all_flags = ctypes.addressof(pidfd), flags | _CLONE_PIDFD | _CLONE_INTO_CGROUP
        ended = 0 if flags & CLONE_PARENT else signal.SIGCHLD  # the parent gets what we send it
        packed = struct.pack("11Q", all_flags, where, 0, 0, ended, 0, 0, 0, 0, 0, group)
        return _call("clone3", packed, len(packed)), pidfd.value
    pid = _call("clone", flags | _CLONE_PIDFD | signal.SIGCHLD, 0, ctypes.byref(pidfd), 0, 0)
    return pid, pidfd.value


def open_beneath(directory: int, path: str, flags: int) -> int:
    """Open a path beneath a directory without following any link; close-on-exec.

    Raises OSError: ELOOP for a link on the way, EXDEV for a path that leads out.
    """
    resolve = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS
    how = _HOW.pack(flags | os.O_CLOEXEC, 0, resolve)
    try:
        return _call("openat2", directory, os.fsencode(path), how, len(how))
    except OSError as error:
        if error.errno != errno.ENOSYS:  # hidden by gVisor, RestrictSUIDSGID= and other filters
            raise
    return beneath.open_by_steps(directory, path, flags)


def clone_tree(source: int, attributes: int) -> int:
    """Give a detached copy of the mounts at `source` (an O_PATH descriptor), with attributes set.

    It is private: what is mounted later beneath the source appears in it nowhere.
    `source` must have been opened in the caller's own mount namespace.
    """
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_EMPTY_PATH | _AT_RECURSIVE
    tree = _call("open_tree", source, b"", flags)
    try:
        set_attributes(tree, attributes, propagation=_MS_PRIVATE)
    except OSError:
        os.close(tree)
        raise
    return tree


def set_attributes(mount: int, attributes: int, *, propagation: int = 0) -> None:
    """Add attributes (read-only, no set-uid ...) to a mount given by a descriptor of its root.

    With a propagation, this and the attributes are set on every mount beneath it too.
    """
    packed = _MOUNT_ATTR.pack(attributes, 0, propagation, 0)
    flags = _AT_EMPTY_PATH | (_AT_RECURSIVE if propagation else 0)
    _call("mount_setattr", mount, b"", flags, packed, len(packed))


def map_owners(mount: int, user_namespace: int) -> None:
    """Show the files of a detached mount under the owners that a user namespace maps them to."""
    packed = _MOUNT_ATTR.pack(_ATTR_IDMAP, 0, 0, user_namespace)
    try:
        _call("mount_setattr", mount, b"", _AT_EMPTY_PATH, packed, len(packed))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        text = "the file system of DataDir cannot show files under another owner"
        raise OSError(error.errno, text) from None


def new_filesystem(kind: str, options: Mapping[str, str], attributes: int) -> int:
    """Make a detached mount of a new file system; an option with an empty value is a flag."""
    context = _call("fsopen", kind.encode(), 1)
    try:
        for key, value in options.items():
            command = _FSCONFIG_SET_STRING if value else _FSCONFIG_SET_FLAG
            text = value.encode() if value else None
            _call("fsconfig", context, command, key.encode(), text, 0)
        _call("fsconfig", context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _call("fsmount", context, 1, attributes)
    finally:
        os.close(context)


def attach(mount: int, target: int) -> None:
    """Attach a detached mount on top of `target`, an O_PATH descriptor of a directory or file."""
    flags = _MOVE_MOUNT_F_EMPTY_PATH | _MOVE_MOUNT_T_EMPTY_PATH
    _call("move_mount", mount, b"", target, b"", flags)


def detach(path: str) -> bool:
    """Take the mount at a path away, at once and whoever uses it; tell whether there was one."""
    try:
        _call("umount2", path.encode(), _MNT_DETACH | _UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT, errno.EPERM):
            raise
        return False
    return True


def make_mounts_private() -> None:
    """Let no mount travel between this mount namespace and the one it was copied from."""
    _mount(None, b"/", _MS_REC | _MS_PRIVATE)


def new_mount_namespace() -> None:
    """Go on in a copy of the mount namespace."""
    _checked(_libc.unshare(CLONE_NEWNS), "unshare")


def enter_mount_namespace(namespace: int) -> None:
    """Go on in another mount namespace, at its root. Only for a process with one thread."""
    _checked(_libc.setns(namespace, CLONE_NEWNS), "setns")


def new_user_namespace() -> None:
    """Go on in a user namespace of one's own, with every right in it."""
    _checked(_libc.unshare(CLONE_NEWUSER), "unshare")


def new_network_namespace() -> None:
    """Go on in a network namespace of one's own, whose `lo` is down."""
    _checked(_libc.unshare(_CLONE_NEWNET), "unshare")


def enter_network_namespace(namespace: int) -> None:
    """Go on in another network namespace."""
    _checked(_libc.setns(namespace, _CLONE_NEWNET), "setns")


def enter_root(root: int) -> bool:
    """Make the mount at `root` the root of this mount namespace and let go of the old one.

    Where a container's filter refuses pivot_root, the mount is moved over "/" and chroot follows.
    Tells whether it went that way.
    """
    os.fchdir(root)
    moved = False
    try:
        _call("pivot_root", b".", b".")
    except PermissionError:
        _mount(b".", b"/", _MS_MOVE)
        os.chroot(".")
        moved = True
    else:
        _call("umount2", b".", _MNT_DETACH)
    os.chdir("/")
    return moved


def die_with_parent(number: int = signal.SIGKILL) -> None:
    """Ask for a signal when the thread that made this process ends. Lost by a change of uid."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: ctypes.Array[ctypes.c_char]) -> None:
    """Set the name that ps and top show, of at most 15 bytes."""
    _prctl(_PR_SET_NAME, ctypes.addressof(name))


def leave_keyring() -> None:
    """Get a new, empty session keyring: whoever inherits one may use all keys in it.

    Fine where there is none: a kernel without keys, or a container's filter that holds for the
    content too.
    """
    try:
        _call("keyctl", _KEYCTL_JOIN_SESSION_KEYRING, 0)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def hide_memory() -> None:
    """Refuse ptrace, /proc/PID/mem and core dumps of this process, to its own uid too."""
    _prctl(_PR_SET_DUMPABLE, 0)


def show_memory() -> None:
    """Undo what a change of uid did to /proc/self: its files are this process's again."""
    _prctl(_PR_SET_DUMPABLE, 1)


def forbid_new_privileges() -> None:
    """Make set-uid bits and file capabilities without effect, for good."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def landlock_version() -> int:
    """Give the version of Landlock that the kernel has; 0: none, or it may not be used here."""
    try:
        return _call("landlock_create_ruleset", None, 0, 1)
    except OSError:
        return 0


def landlock_rules(attributes: bytes) -> int:
    """Make a set of rules (struct landlock_ruleset_attr); give its descriptor."""
    return _call("landlock_create_ruleset", attributes, len(attributes), 0)


def landlock_allow(rules: int, place: int, rights: int) -> None:
    """Allow rights beneath a place, an O_PATH descriptor."""
    _call("landlock_add_rule", rules, 1, struct.pack("=Qi", rights, place), 0)


def landlock_restrict(rules: int) -> None:
    """Hold this process and its children to the rules, for good. Needs no_new_privs."""
    _call("landlock_restrict_self", rules, 0)


def filter_calls(program: bytes, *, listen: bool = False) -> int:
    """Hold this process and its children to a filter of system calls, for good.

    program: classic BPF, eight bytes each. Needs no_new_privs. listen: give a descriptor on which
    the calls are told that the program asks about; raises OSError EINVAL where the kernel, and
    EBUSY where somebody around us, does not let us.
    """
    code = ctypes.create_string_buffer(program, len(program))
    packed = struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code))
    flags = _SECCOMP_NEW_LISTENER if listen else 0
    return _call("seccomp", _SECCOMP_SET_FILTER, flags, packed)


def drop_bounding_set() -> None:
    """Take every capability out of the bounding and the ambient set. Needs CAP_SETPCAP."""
    for capability in range(64):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            break
    _checked(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "prctl ambient")


def keep_capabilities() -> None:
    """Let root's exec keep the capabilities of now, also once the bounding set is empty."""
    buffer = ctypes.create_string_buffer(len(_NO_CAPABILITIES))
    _call("capget", _CAPABILITY_HEADER, buffer)
    effective, permitted, _, effective_high, permitted_high, _ = struct.unpack("6I", buffer.raw)
    inheritable, inheritable_high = permitted, permitted_high
    wanted = (effective, permitted, inheritable, effective_high, permitted_high, inheritable_high)
    _call("capset", _CAPABILITY_HEADER, struct.pack("6I", *wanted))


def drop_capabilities() -> None:
    """Give up every permitted, effective and inheritable capability."""
    _call("capset", _CAPABILITY_HEADER, _NO_CAPABILITIES)


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor that is not in `keep`."""
    first = 0
    for fd in sorted(keep):
        if fd > first:
            _call("close_range", first, fd - 1, 0)
        first = fd + 1
    _call("close_range", first, 0xFFFFFFFF, 0)
