"""Whose directories lie where: those of each run, those of places, and what is left of old ones."""

from __future__ import annotations

import os
from collections.abc import Sequence

from supervisor import layout
from supervisor.layout import PlaceKind, PlaceRef
from supervisor_unshare.helper import places
from supervisor_unshare.linux import syscalls
from supervisor_unshare.requests.jobs import Job
from supervisor_unshare.requests.rules import ROOT, SUBUID, Rules
from supervisor_unshare.root import build

_SOCKETS_SIZE = "64k"
Tree = tuple[int, tuple[str, ...]]  # a base descriptor and the components below it


class Directories:
    """Make and remove what runs need below DataDir and RunDir. Raises OSError throughout."""

    def __init__(self, data_dir: str, run_dir: str, rules: Rules) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self._data = os.open(data_dir, flags)
        self._run_dir = os.open(run_dir, flags)
        self._sockets = f"{run_dir}/{layout.RUN_SOCKETS}"
        self._rules = rules

    def prepare(self) -> list[Tree]:
        """Make our own and remove what an earlier helper left; give what would take too long."""
        owner = self._owner(0, 0)
        for base, part in self._parents():
            places.make(base, (part,), owner=owner, mode=places.PARENT_MODE)
        places.make(self._run_dir, (build.NEW_ROOT,), owner=owner, mode=0o700)
        large: list[Tree] = []
        ours = set(self._names(self._run_dir, layout.RUN_SOCKETS))
        for name in ours:
            self._free_sockets(name)
        for base, part in self._parents():
            for name in self._names(base, part):
                if self._rules.several_nodes and name not in ours:
                    continue  # it may be another helper's, and in use
                try:
                    if places.is_small(base, (part, name)):
                        places.remove(base, (part, name))
                        continue
                except OSError:  # what cannot be removed is told of later, and hinders no start
                    pass
                large.append((base, (part, name)))
        return large

    def _names(self, base: int, part: str) -> list[str]:
        with places.opened(syscalls.open_beneath(base, part, os.O_RDONLY)) as directory:
            return os.listdir(directory)

    def make_run(self, job: Job) -> None:
        """Make the directories of a run, and the places that it writes to."""
        owner = self._owner(job.uid, job.gid)
        places.make(self._data, ("tmp", job.run), owner=owner, mode=0o700)
        places.make(self._data, ("tmp", job.run, "home"), owner=owner, mode=0o700)
        sockets = self._owner(job.uid, self._rules.gateway_gid)
        places.make(self._run_dir, (layout.RUN_SOCKETS, job.run), owner=sockets, mode=0o2710)
        # A mount of a user namespace is seen by nobody outside.
        if sockets is not None and self._rules.tier == ROOT:
            self._limit_sockets(job.run, sockets)
        for mount in job.mounts:
            if mount.writable:
                self.make_place(mount.place, job.owner, job.owner)

    def _limit_sockets(self, run: str, owner: tuple[int, int]) -> None:
        """Put a small file system over the directory in which a run listens.

        RunDir, in which it lies, is as a rule a file system in memory that others need too.
        """
        uid, gid = map(str, owner)
        options = {"size": _SOCKETS_SIZE, "nr_inodes": "64", "mode": "2710", "uid": uid, "gid": gid}
        flags = syscalls.ATTR_NOSUID | syscalls.ATTR_NODEV | syscalls.ATTR_NOEXEC
        with (
            places.opened(syscalls.new_filesystem("tmpfs", options, flags)) as mount,
            places.opened(self.open_socket_directory(run)) as place,
        ):
            syscalls.attach(mount, place)

    def _free_sockets(self, run: str) -> None:
        if self._rules.tier == ROOT:
            syscalls.detach(f"{self._sockets}/{run}")

    def make_place(self, place: PlaceRef, uid: int, gid: int) -> None:
        """Make the directory of a place; archives and libraries are not made by request."""
        if place.kind in (PlaceKind.BUNDLE, PlaceKind.LIBRARY):
            return
        if self._rules.tier == SUBUID:
            places.adopt(self._data, layout.components(place), (uid, gid))
        places.make(
            self._data,
            layout.components(place),
            owner=self._owner(uid, gid),
            parent_gid=self._rules.core_gid,
        )

    def seal_place(self, place: PlaceRef) -> None:
        """Give a finished place to the core, readable by the gateway."""
        owner = self._owner(self._rules.core_uid, self._rules.gateway_gid)
        places.seal(self._data, layout.components(place), owner=owner)

    def remove_place(self, place: PlaceRef) -> None:
        """Remove a place and all beneath it."""
        places.remove(self._data, layout.components(place))

    def remove_run(self, run: str) -> None:
        """Remove the directories of a run."""
        self._free_sockets(run)
        remove_all(self._of_run(run))

    def remove_empty(self, run: str) -> bool:
        """Remove the directories of a run that has left nothing in them; tell whether it has."""
        try:
            self._free_sockets(run)
            places.remove_empty(self._data, ("tmp", run, "home"))
            for base, parts in self._of_run(run):
                places.remove_empty(base, parts)
        except OSError:
            return False
        return True

    def is_small(self, run: str) -> bool:
        """Tell whether removing the directories of a run takes no time."""
        return all(places.is_small(base, parts) for base, parts in self._of_run(run))

    def open_socket_directory(self, run: str) -> int:
        """Open the directory in which a run listens; the caller closes it."""
        path = f"{layout.RUN_SOCKETS}/{run}"
        return syscalls.open_beneath(self._run_dir, path, os.O_PATH | os.O_DIRECTORY)

    def _parents(self) -> tuple[tuple[int, str], ...]:
        return (self._data, "tmp"), (self._run_dir, layout.RUN_SOCKETS)

    def _of_run(self, run: str) -> list[Tree]:
        return [(base, (part, run)) for base, part in self._parents()]

    def _owner(self, uid: int, gid: int) -> tuple[int, int] | None:
        return None if self._rules.rootless else (uid, gid)


def remove_all(trees: Sequence[Tree]) -> None:
    """Remove some trees; raises the last OSError once all have been tried."""
    failure: OSError | None = None
    for base, parts in trees:
        try:
            places.remove(base, parts)
        except OSError as error:
            failure = error
    if failure is not None:
        raise failure
