"""The part of the root that all runs share, built once and copied with each clone.

It is the whole of a mount namespace of its own, in which the zygote lives alone: neither the
host nor any run sees it, and whoever gets a copy cannot change it. The helper itself stays in the
host's namespace and sees what is mounted there later.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

from supervisor import layout
from supervisor_unshare.linux import syscalls
from supervisor_unshare.linux.answering import answers, has_server
from supervisor_unshare.linux.mount_changes import MountChanges
from supervisor_unshare.root import build
from supervisor_unshare.root.host import HostView, Shown
from supervisor_unshare.root.plan_mounts import Base, Bind, packed, plan_shared

_Identity = tuple[int, int] | None  # device and inode; None: not there
_OPEN = os.O_RDONLY | os.O_CLOEXEC


class Template:
    """The shared root, built at the first start and again whenever the host has changed.

    own_user: whether the helper is root of a user namespace of its own alone. Raises OSError where
    a process must not go from one mount namespace to another.
    """

    generation = 0

    def __init__(self, host: HostView, bases: Mapping[str, str], *, own_user: bool) -> None:
        self._host = host
        self._own_user = own_user
        self._bases = bases
        self._home = os.open("/proc/self/ns/mnt", _OPEN)
        syscalls.enter_mount_namespace(self._home)
        # Each start mounts a file system for the sockets of its run: that concerns no other.
        self._changes = MountChanges(but=f"{bases[Base.RUN.value]}/{layout.RUN_SOCKETS}")
        self._shown: Shown | None = None
        self._sources: list[str] = []
        self._found: list[_Identity] = []
        self._served: list[str] = []  # trees on file systems that may go silent
        self.built: int | None = None  # the namespace as of the last call

    def namespace(self, step: build.Step) -> int:
        """Give the mount namespace whose whole is the root as of now; it stays ours.

        `generation` grows whenever it is another one. Raises OSError, with the name of the step
        that failed in `step`; the next call tries again.
        """
        step.name = "template"
        mounted = self._changes.happened()
        if mounted:
            self._host.forget()
            mounts = self._changes.mounts
            self._served = [tree for tree in self._host.trees if has_server(tree, mounts)]
        for tree in self._served:
            if not answers(tree):  # whoever looks at it now waits without end
                step.name = f"mount {tree}"
                raise OSError(errno.ETIMEDOUT, f"the file system of {tree} does not answer")
        shown = self._host.shown
        if shown is not self._shown:
            self._sources = _sources(shown)
        found = [_identity(source) for source in self._sources]
        if mounted or shown is not self._shown or found != self._found or self.built is None:
            self._forget()
            self.built = self._build(step)
            self._shown, self._found = shown, found
            self.generation += 1
        return self.built

    def _build(self, step: build.Step) -> int:
        step.name = "mounts"
        with self._returning(), contextlib.ExitStack() as undo:
            syscalls.new_mount_namespace()
            namespace = os.open("/proc/self/ns/mnt", _OPEN)
            undo.callback(os.close, namespace)
            syscalls.make_mounts_private()
            sources = build.open_bases(self._bases)
            try:
                made = build.build_shared(
                    packed(plan_shared(self._host.shown.shared)), sources, step
                )
                undo.callback(os.close, made)
                if self._own_user:
                    build.show_proc(made, sources, step)
            finally:
                for source in sources.values():
                    os.close(source)
            step.name = "enter-root"
            syscalls.enter_root(made)  # nothing else stays in the namespace
            syscalls.set_attributes(made, syscalls.ATTR_RDONLY)
            undo.pop_all()
        os.close(made)
        return namespace

    def _forget(self) -> None:
        """Let go of the earlier one, and with it of its mounts."""
        if self.built is not None:
            os.close(self.built)
            self.built = None

    @contextlib.contextmanager
    def _returning(self) -> Iterator[None]:
        """Come back to the host's namespace in any case, or end: nothing may go on elsewhere."""
        try:
            yield
        finally:
            try:
                syscalls.enter_mount_namespace(self._home)
            except OSError as error:
                raise SystemExit(f"the helper cannot return to its mounts: {error}") from error


def _sources(shown: Shown) -> list[str]:
    return ["/" + "/".join(entry.parts) for entry in shown.shared if isinstance(entry, Bind)]


def _identity(source: str) -> _Identity:
    try:
        found = os.stat(source)
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino
