"""Control groups: v2, hybrid, v1 or none, found at start. Only directories of our own are touched.

Every run gets a directory in the unified hierarchy where there is one (to kill its whole tree at
once) and, for each limit that it has, one in the controller's hierarchy. Joining costs milliseconds
per hierarchy, so a run joins no more of them than its limits need.

v2: beneath the helper's own group, whose limits go on to hold. Where a service manager has
delegated that one to us, the server's processes move into a group beneath it: one that holds
processes can hand no controller down. v1: at the top of each hierarchy as it is mounted here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from supervisor_unshare.jobs import Limits

_CONTROLLERS = ("memory", "pids", "cpu")
_CPU_PERIOD = 100_000  # microseconds
_SWEEP_SECONDS = 0.7
_SERVER = "server"  # the group of the server's own processes, where the one above is delegated
_PASSES = 3
_DELEGATED = ("user.delegate", "trusted.delegate")  # systemd's mark, an extended attribute


@dataclass(frozen=True, kw_only=True)
class Hierarchies:
    """Where groups can be made: our own directory per hierarchy.

    unified: in cgroup v2, or None; controllers: name → directory; v2: those of them that are in
    the unified hierarchy.
    """

    unified: str | None = None
    controllers: Mapping[str, str] = field(default_factory=dict)
    v2: frozenset[str] = frozenset()

    @property
    def limits(self) -> frozenset[str]:
        """The names of the limits that groups can enforce here."""
        found = {
            limit
            for limit, controller in (("memory_max", "memory"), ("pids", "pids"), ("cpu", "cpu"))
            if controller in self.controllers
        }
        return frozenset(found | ({"memory_high"} if "memory" in self.v2 else set()))

    @property
    def directories(self) -> list[str]:
        """Every directory of ours, each once."""
        return sorted({*self.controllers.values(), *([self.unified] if self.unified else [])})


@dataclass(frozen=True, kw_only=True)
class Group:
    """The directories of one run; `memory` is the one that counts its memory, if any."""

    directories: tuple[str, ...] = ()
    unified: str | None = None
    memory: str | None = None

    def open_unified(self) -> int | None:
        """Open the directory into which a process can be cloned, if there is one."""
        if self.unified is None:
            return None
        return os.open(self.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_procs(self, *, but: str | None = None) -> list[int]:
        """Open the files through which a process joins by writing "0"."""
        flags = os.O_WRONLY | os.O_CLOEXEC
        paths = [path for path in self.directories if path != but]
        return [os.open(f"{path}/cgroup.procs", flags) for path in paths]

    def kill(self) -> None:
        """Kill every process of the group at once, where the kernel can."""
        if self.unified is not None:
            with contextlib.suppress(OSError):
                _write(f"{self.unified}/cgroup.kill", "1")

    def ran_out_of_memory(self) -> bool:
        """Tell whether the kernel has killed a process of the group for its memory limit."""
        if self.memory is None:
            return False
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError, ValueError):
                lines = _read(f"{self.memory}/{name}").splitlines()
                facts = dict(line.split(maxsplit=1) for line in lines)
                return int(facts.get("oom_kill", "0")) > 0
        return False

    def remove(self) -> None:
        """Remove the directories; the processes must have ended."""
        for path in self.directories:
            _remove(path, patience=0.05)


def find(run_dir: str, *, mountinfo: str | None = None, own: str | None = None) -> Hierarchies:
    """Make our own directory in every hierarchy that lets us; the rest is left out.

    mountinfo and own are the texts of /proc/self/mountinfo and /proc/self/cgroup.
    """
    mounts = list(_mounts(mountinfo if mountinfo is not None else _read("/proc/self/mountinfo")))
    groups = own if own is not None else _read("/proc/self/cgroup")
    name = directory_name(run_dir)
    unified = None
    controllers: dict[str, str] = {}
    for kind, _, mountpoint, root in mounts:
        if kind == "cgroup2" and unified is None:
            own_group = _emptied(_own_directory(groups, mountpoint, root))
            # To be born in a group below takes the right to move processes out of our own.
            if os.access(f"{own_group}/cgroup.procs", os.W_OK):
                unified = _made(f"{own_group}/{name}")
    v2 = _delegate(unified) if unified else frozenset()
    controllers.update((controller, unified) for controller in v2 if unified)
    for kind, options, mountpoint, _ in mounts:
        for controller in set(_CONTROLLERS) & options if kind == "cgroup" else ():
            path = _made(f"{mountpoint}/{name}") if controller not in controllers else None
            if path:
                controllers[controller] = path
    return Hierarchies(unified=unified, controllers=controllers, v2=v2)


def directory_name(run_dir: str) -> str:
    """Give the name of the directories of the server with this RunDir."""
    # Not hashlib: it maps OpenSSL, four megabytes that every fork of the launcher would copy.
    return f"content-supervisor-{zlib.crc32(run_dir.encode()):08x}"


def needed(found: Hierarchies, limits: Limits) -> frozenset[str]:
    """Give the directories in which a run with these limits has one of its own."""
    controllers = settings(limits, found.v2).keys() & found.controllers.keys()
    places = {found.controllers[controller] for controller in controllers}
    return frozenset(places | ({found.unified} if found.unified else set()))


def make(found: Hierarchies, places: Collection[str], name: str) -> Group:
    """Make a group, without limits, in each of those directories; raises OSError, none left."""
    memory = found.controllers.get("memory")
    group = Group(
        directories=tuple(f"{place}/{name}" for place in sorted(places)),
        unified=f"{found.unified}/{name}" if found.unified else None,
        memory=f"{memory}/{name}" if memory in places else None,
    )
    try:
        for path in group.directories:
            os.makedirs(path)  # also where somebody has removed our empty directory
    except OSError:
        group.remove()
        raise
    return group


def limit(found: Hierarchies, group: Group, limits: Limits) -> None:
    """Set the limits of a group that was made where they need one; raises OSError."""
    directories = {os.path.dirname(path): path for path in group.directories}
    for controller, values in settings(limits, found.v2).items():
        if controller in found.controllers:
            for name, value in values.items():
                _write(f"{directories[found.controllers[controller]]}/{name}", value)


def sweep(found: Hierarchies) -> None:
    """Kill and remove whatever an earlier helper has left in our directories."""
    for directory in found.directories:
        for run in _children(directory):
            path = f"{directory}/{run}"
            for pid in _read(f"{path}/cgroup.procs").split():
                if pid == "0":  # of a container beside this one; 0 would mean ourselves
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            _remove(path, patience=_SWEEP_SECONDS)


def leave(found: Hierarchies) -> None:
    """Remove our own directories; one that still holds a run stays for the next helper's sweep."""
    for directory in found.directories:
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def settings(limits: Limits, v2: frozenset[str]) -> dict[str, dict[str, str]]:
    """Give controller → file → value; one process more than the limit, for init."""
    memory: dict[str, str] = {}
    if limits.memory_max is not None:
        memory["memory.max" if "memory" in v2 else "memory.limit_in_bytes"] = str(limits.memory_max)
    if limits.memory_high is not None and "memory" in v2:
        memory["memory.high"] = str(limits.memory_high)
    pids = {"pids.max": str(limits.pids + 1)} if limits.pids is not None else {}
    cpu: dict[str, str] = {}
    if limits.cpu is not None:
        quota = max(1000, int(limits.cpu * _CPU_PERIOD))
        if "cpu" in v2:
            cpu["cpu.max"] = f"{quota} {_CPU_PERIOD}"
        else:
            cpu = {"cpu.cfs_period_us": str(_CPU_PERIOD), "cpu.cfs_quota_us": str(quota)}
    wanted = {"memory": memory, "pids": pids, "cpu": cpu}
    return {controller: values for controller, values in wanted.items() if values}


def _mounts(mountinfo: str) -> Iterator[tuple[str, set[str], str, str]]:
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, (kind, _, options) = before.split(), after.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            yield kind, set(options.split(",")), fields[4], fields[3]


def _own_directory(groups: str, mountpoint: str, root: str) -> str:
    own = next((line[3:] for line in groups.splitlines() if line.startswith("0::")), "/")
    beneath = own.removeprefix(root.rstrip("/")).strip("/")
    path = f"{mountpoint}/{beneath}".rstrip("/")
    return path if ".." not in beneath and os.path.isdir(path) else mountpoint


def _emptied(own: str) -> str:
    """Give the group to make runs in: one that is delegated to us holds no process any more."""
    above = os.path.dirname(own)
    if os.path.basename(own) == _SERVER and _is_delegated(above):
        return above
    server = _made(f"{own}/{_SERVER}") if _is_delegated(own) else None
    for _ in range(_PASSES) if server else ():  # some may be forking meanwhile
        for pid in _read(f"{own}/cgroup.procs").split():
            with contextlib.suppress(ProcessLookupError):
                _write(f"{server}/cgroup.procs", pid)
    return own


def _is_delegated(directory: str) -> bool:
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            return os.getxattr(directory, name) == b"1"
    return False


def _delegate(unified: str) -> frozenset[str]:
    """Ask for the controllers in our own directory; give those that its runs will have."""
    for directory in (os.path.dirname(unified), unified):
        for controller in _CONTROLLERS:
            with contextlib.suppress(OSError):  # absent, or not delegated to us
                _write(f"{directory}/cgroup.subtree_control", f"+{controller}")
    with contextlib.suppress(OSError):
        enabled = _read(f"{unified}/cgroup.subtree_control").split()
        return frozenset(enabled) & frozenset(_CONTROLLERS)
    return frozenset()


def _made(path: str) -> str | None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError:
        return None
    return path if os.access(f"{path}/cgroup.procs", os.W_OK) else None


def _children(directory: str) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []


def _remove(path: str, *, patience: float) -> None:
    """Remove a group; a process that is just ending makes it busy for a moment."""
    until = time.monotonic() + patience
    while True:
        try:
            os.rmdir(path)
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > until:
                return
            time.sleep(0.002)
        else:
            return


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
