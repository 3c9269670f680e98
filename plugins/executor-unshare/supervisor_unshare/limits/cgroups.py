"""Control groups: v2, hybrid, v1 or none, found at start. Only directories of our own are touched.

Every run gets a directory in the unified hierarchy where there is one (to kill its whole tree at
once) and one in those of memory and pids; in that of cpu only for a limit of its own. All lie in
one directory per hierarchy, which holds all contents to totals (totals.py).

v2: beneath the helper's own group, whose limits go on to hold. Where that one is ours, because a
service manager has delegated it or it is all that a container has, the server's processes move into
a group beneath it: one that holds processes can hand no controller down. v1: at the top of each
hierarchy as it is mounted here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from supervisor_unshare.requests.jobs import Limits

_CONTROLLERS = ("memory", "pids", "cpu")
_COUNTING = ("memory", "pids")  # a run has groups of its own here, to tell how it ended
_SWAP = frozenset({"memory.swap.max", "memory.memsw.limit_in_bytes"})  # where the kernel counts it
_CPU_PERIOD = 100_000  # microseconds
_NO_LIMIT = 2**62  # of bytes, what v1 says for none is a little more
_SWEEP_SECONDS = 0.7
SERVER = "server"  # the group of the server's own processes, where the one above is delegated
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
        return frozenset(found)

    @property
    def missing(self) -> list[str]:
        """The controllers that nobody lets us use."""
        return [name for name in _CONTROLLERS if name not in self.controllers]

    @property
    def kind(self) -> str:
        """How groups are found here, in words."""
        if not self.controllers:
            return "resource limits alone"
        if set(self.controllers) == self.v2:
            return "cgroup v2"
        return "cgroup v1 and v2 (hybrid)" if self.unified else "cgroup v1"

    @property
    def directories(self) -> list[str]:
        """Every directory of ours, each once."""
        return sorted({*self.controllers.values(), *([self.unified] if self.unified else [])})


@dataclass(frozen=True, kw_only=True)
class Group:
    """The directories of one run, which go with it, and those of all runs that it joins.

    memory and pids are those that count its memory and its processes, if any.
    """

    directories: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    unified: str | None = None
    memory: str | None = None
    pids: str | None = None

    def open_unified(self) -> int | None:
        """Open the directory into which a process can be cloned, if there is one."""
        if self.unified is None:
            return None
        return os.open(self.unified, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def open_procs(self, *, but: str | None = None) -> list[int]:
        """Open the files through which a process joins by writing "0"."""
        flags = os.O_WRONLY | os.O_CLOEXEC
        paths = [path for path in (*self.directories, *self.joined) if path != but]
        found: list[int] = []
        with contextlib.ExitStack() as undo:
            for path in paths:
                found.append(os.open(f"{path}/cgroup.procs", flags))
                undo.callback(os.close, found[-1])
            undo.pop_all()
        return found

    def kill(self) -> None:
        """Kill every process of the group at once, where the kernel can."""
        if self.unified is not None:
            with contextlib.suppress(OSError):
                write(f"{self.unified}/cgroup.kill", "1")

    def memory_kills(self) -> int:
        """Give how many processes of the group the kernel has killed for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            if found := counts(f"{self.memory}/{name}") if self.memory else {}:
                return found.get("oom_kill", 0)
        return 0

    def memory_used(self) -> int | None:
        """Give the bytes that the group cannot do without: all but cached files."""
        if self.memory is None:
            return None
        used = number(f"{self.memory}/memory.current")
        name = "inactive_file" if used is not None else "total_inactive_file"
        if used is None:
            used = number(f"{self.memory}/memory.usage_in_bytes")
        if used is None:
            return None
        return max(0, used - counts(f"{self.memory}/memory.stat").get(name, 0))

    def remove(self) -> bool:
        """Try to remove the directories; tell whether all are gone. The processes must have ended.

        It may take another try: a process that is just ending makes a group busy for a moment.
        """
        return all([_removed(path) for path in self.directories])


def find(run_dir: str, *, mountinfo: str | None = None, own: str | None = None) -> Hierarchies:
    """Make our own directory in every hierarchy that lets us; the rest is left out.

    mountinfo and own are the texts of /proc/self/mountinfo and /proc/self/cgroup.
    """
    mounts = list(_mounts(mountinfo if mountinfo is not None else read("/proc/self/mountinfo")))
    groups = own if own is not None else read("/proc/self/cgroup")
    name = directory_name(run_dir)
    unified = None
    controllers: dict[str, str] = {}
    for kind, _, mountpoint, root in mounts:
        if kind == "cgroup2" and unified is None:
            own_group = _emptied(_own_directory(groups, mountpoint, root), mountpoint)
            # To be born in a group below takes the right to move processes out of our own.
            if os.access(f"{own_group}/cgroup.procs", os.W_OK):
                unified = _for_processes(_made(f"{own_group}/{name}"))
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
    controllers = {*settings(limits, found.v2), *_COUNTING} & found.controllers.keys()
    places = {found.controllers[controller] for controller in controllers}
    return frozenset(places | ({found.unified} if found.unified else set()))


def make(found: Hierarchies, places: Collection[str], name: str) -> Group:
    """Make a group, without limits, in each of those directories; raises OSError, none left."""
    memory, pids = (found.controllers.get(controller) for controller in _COUNTING)
    group = Group(
        directories=tuple(f"{place}/{name}" for place in sorted(places)),
        joined=tuple(sorted(set(found.controllers.values()) - set(places))),
        unified=f"{found.unified}/{name}" if found.unified else None,
        memory=f"{memory}/{name}" if memory in places else None,
        pids=f"{pids}/{name}" if pids in places else None,
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
            directory = directories[found.controllers[controller]]
            for name, value in values.items():
                if name not in _SWAP or os.path.exists(f"{directory}/{name}"):
                    write(f"{directory}/{name}", value)


def sweep(found: Hierarchies) -> None:
    """Kill and remove whatever an earlier helper has left in our directories."""
    for directory in found.directories:
        for run in _children(directory):
            path = f"{directory}/{run}"
            for pid in read(f"{path}/cgroup.procs").split():
                if pid == "0":  # of a container beside this one; 0 would mean ourselves
                    continue
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            until = time.monotonic() + _SWEEP_SECONDS
            while not _removed(path) and time.monotonic() <= until:
                time.sleep(0.002)


def unknown(found: Hierarchies, known: Collection[Group]) -> Group:
    """Give, as one group, what lies in our directories beside the known ones."""
    expected = {path for group in known for path in group.directories}
    paths = {f"{top}/{name}" for top in found.directories for name in _children(top)}
    return Group(directories=tuple(sorted(paths - expected)))


def leave(found: Hierarchies) -> None:
    """Remove our own directories; one that still holds a run stays for the next helper's sweep."""
    for directory in found.directories:
        with contextlib.suppress(OSError):
            os.rmdir(directory)


def settings(limits: Limits, v2: frozenset[str]) -> dict[str, dict[str, str]]:
    """Give controller → file → value; one process more than the limit, for init.

    Swap is no way around a limit of memory: a process that lives in it stalls all others.
    """
    memory: dict[str, str] = {}
    if limits.memory_max is not None:
        most = str(limits.memory_max)
        if "memory" in v2:
            memory = {"memory.max": most, "memory.swap.max": "0"}
        else:
            memory = {"memory.limit_in_bytes": most, "memory.memsw.limit_in_bytes": most}
    pids = {"pids.max": str(limits.pids + 1)} if limits.pids is not None else {}
    cpu: dict[str, str] = {}
    if limits.cpu is not None:
        quota = max(1000, int(limits.cpu * _CPU_PERIOD))
        if "cpu" in v2:
            cpu["cpu.max"] = f"{quota} {_CPU_PERIOD}"
        else:
            cpu = {"cpu.cfs_period_us": str(_CPU_PERIOD), "cpu.cfs_quota_us": str(quota)}
    if limits.nice:
        weight = {"cpu.weight.nice": str(limits.nice)}
        shares = {"cpu.shares": str(round(1024 / 1.25**limits.nice))}  # as the kernel weighs it
        cpu |= weight if "cpu" in v2 else shares
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


def _emptied(own: str, mountpoint: str) -> str:
    """Give the group to make runs in: one that is ours holds no process any more."""
    above = os.path.dirname(own)
    if os.path.basename(own) == SERVER and _is_ours(above, mountpoint):
        return above
    server = _made(f"{own}/{SERVER}") if _is_ours(own, mountpoint) else None
    for _ in range(_PASSES) if server else ():  # some may be forking meanwhile
        for pid in read(f"{own}/cgroup.procs").split():
            with contextlib.suppress(ProcessLookupError):
                write(f"{server}/cgroup.procs", pid)
    return own


def _is_ours(directory: str, mountpoint: str) -> bool:
    """Whether we alone use a group: the top of what a container sees, or delegated by systemd."""
    if directory == mountpoint and not _is_root(directory):
        return True
    for name in _DELEGATED:
        with contextlib.suppress(OSError):
            return os.getxattr(directory, name) == b"1"
    return False


def _is_root(directory: str) -> bool:
    """Whether it is the machine's: only that group has no type, and may do all."""
    return not os.path.exists(f"{directory}/cgroup.type")


def _for_processes(unified: str | None) -> str | None:
    """Give a group of v2, unless whole processes cannot be in it: it is in a tree of threads."""
    if unified and not _is_root(unified) and "invalid" in read(f"{unified}/cgroup.type"):
        os.rmdir(unified)
        return None
    return unified


def _delegate(unified: str) -> frozenset[str]:
    """Ask for the controllers in our own directory; give those that its runs will have."""
    above = os.path.dirname(unified)
    if not _is_root(above) and read(f"{above}/cgroup.procs").strip():
        # It would hand down those of threads alone, and no process could be in ours any more.
        return frozenset()
    for directory in (above, unified):
        for controller in _CONTROLLERS:
            with contextlib.suppress(OSError):  # absent, or not delegated to us
                write(f"{directory}/cgroup.subtree_control", f"+{controller}")
    with contextlib.suppress(OSError):
        enabled = read(f"{unified}/cgroup.subtree_control").split()
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


def _removed(path: str) -> bool:
    try:
        os.rmdir(path)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    return True


def read(path: str) -> str:
    """Read a file of a group."""
    with open(path, encoding="utf-8") as file:
        return file.read()


def write(path: str, text: str) -> None:
    """Write a file of a group."""
    fd = os.open(path, os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def counts(path: str) -> dict[str, int]:
    """Read a file of lines such as `oom_kill 2`; {} where there is none."""
    with contextlib.suppress(OSError, ValueError):
        lines = (line.split() for line in read(path).splitlines())
        return {name: int(value) for name, value in lines if value.isdecimal()}
    return {}


def number(path: str) -> int | None:
    """Read a number; None where there is none, or no limit."""
    try:
        text = read(path).strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() and int(text) < _NO_LIMIT else None
