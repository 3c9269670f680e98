"""Try what a tier's sandbox needs of the host, in a child that ends at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from supervisor_unshare.linux import filters, landlock, syscalls
from supervisor_unshare.requests.rules import LANDLOCK, ROOT, ROOTLESS, SUBUID
from supervisor_unshare.root.build import Step
from supervisor_unshare.sandbox import entry
from supervisor_unshare.tiers import subuid

_PLAIN = syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV
_SHADOWED = "/usr"  # on every host; covered in the child's own view of files alone


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The step that a host refuses, and the kernel's number for it (None: it gave none)."""

    step: str
    errno: int | None = None
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a trial. moved: the root was entered by the way around a refused pivot_root."""

    failure: Failure | None = None
    moved: bool = False


def attempt(tier: str, *, uid: int) -> Outcome:
    """Take the steps of a sandbox of this tier, as content with this uid. Needs one thread."""
    # In a namespace without a map one's own ids read otherwise.
    gid = uid if tier in (ROOT, SUBUID) else os.getegid()
    outside = tier == SUBUID and os.geteuid() != 0
    steps, flags = {
        ROOT: (_as_root, entry.NAMESPACES),
        SUBUID: (
            _as_root_of_range if outside else _as_root,
            entry.NAMESPACES if not outside else 0,
        ),
        ROOTLESS: (_without_root, entry.NAMESPACES | syscalls.CLONE_NEWUSER),
        LANDLOCK: (_by_filters, 0),
    }[tier]
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        pid, pidfd = syscalls.clone(flags)
    except OSError as error:
        os.close(read)
        os.close(write)
        return Outcome(failure=Failure(step="clone", errno=error.errno, message=str(error)))
    if pid == 0:
        _child(steps, uid, gid, write)
    os.close(pidfd)
    os.close(write)
    with open(read, encoding="utf-8") as file:
        said = file.read()
    os.waitpid(pid, 0)
    if not said:
        return Outcome(failure=Failure(step="start", message="the trial ended without a word"))
    found: dict[str, Any] = json.loads(said)
    failure = Failure(**found["failure"]) if found["failure"] else None
    return Outcome(failure=failure, moved=found["moved"])


def _child(steps: Callable[[int, int, Step], bool], uid: int, gid: int, write: int) -> NoReturn:
    step, failure, moved = Step(), None, False
    try:
        syscalls.die_with_parent()
        moved = steps(uid, gid, step)
    except OSError as error:
        failure = {"step": step.name, "errno": error.errno, "message": str(error)}
    except BaseException as error:
        failure = {"step": step.name, "errno": None, "message": repr(error)}
    os.write(write, json.dumps({"failure": failure, "moved": moved}).encode())
    os._exit(0)


def _as_root(uid: int, gid: int, step: Step) -> bool:
    moved = _new_root(step)
    step.name = "identity"
    syscalls.drop_bounding_set()
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    syscalls.drop_capabilities()
    return moved


def _as_root_of_range(uid: int, gid: int, step: Step) -> bool:
    """Be root over a range of uids, then content, which that root clones as the real one does."""
    step.name = "user-namespace"
    subuid.enter()
    inner = attempt(ROOT, uid=1)
    if inner.failure is not None:
        step.name = inner.failure.step
        raise OSError(inner.failure.errno or 0, inner.failure.message)
    return inner.moved


def _without_root(uid: int, gid: int, step: Step) -> bool:
    step.name = "user-namespace"
    entry.map_own_ids(uid, gid)
    moved = _new_root(step)
    step.name = "identity"
    syscalls.drop_bounding_set()
    syscalls.drop_capabilities()
    return moved


def _by_filters(uid: int, gid: int, step: Step) -> bool:
    step.name = "landlock"
    syscalls.forbid_new_privileges()
    landlock.restrict(landlock.version(), ())
    step.name = "seccomp"
    syscalls.filter_calls(filters.program())
    return False


def _new_root(step: Step) -> bool:
    """Make a root out of nothing, show a tree of the host in it, and enter it."""
    step.name = "mounts"
    syscalls.make_mounts_private()
    place = os.open(_SHADOWED, os.O_PATH | os.O_CLOEXEC)
    tree = syscalls.clone_tree(place, _PLAIN | syscalls.ATTR_RDONLY)
    step.name = "new-root"
    root = syscalls.new_filesystem("tmpfs", {"size": "1m", "mode": "0755"}, _PLAIN)
    syscalls.attach(root, place)
    for name in ("shown", "proc"):
        os.mkdir(name, 0o755, dir_fd=root)
    syscalls.attach(tree, syscalls.open_beneath(root, "shown", os.O_PATH))
    step.name = "mount /proc"
    proc = syscalls.new_filesystem("proc", {}, _PLAIN | syscalls.ATTR_NOEXEC)
    syscalls.attach(proc, syscalls.open_beneath(root, "proc", os.O_PATH))
    step.name = "enter-root"
    return syscalls.enter_root(root)
