"""What a sandbox's root holds, as data. Pure: the same job on the same host gives the same plan.

The root is a new tmpfs; nothing of the host is there unless an entry of this plan names it. The
launcher carries the plan out (root.py), the tests read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import PurePosixPath
from typing import Any

from supervisor import layout
from supervisor.layout import MOUNT_ROOT, Role
from supervisor_unshare.requests.jobs import Job
from supervisor_unshare.root.build import OWN_FILES as OWN_FILES
from supervisor_unshare.root.build import SHARED_MEMORY as SHARED_MEMORY

# Shown read-only at the same path, where the host has them.
SYSTEM_TREES = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
TOOL_TREES = ("/opt/R", "/opt/python", "/opt/quarto")
ETC = tuple(
    (
        "ca-certificates ca-certificates.conf crypto-policies pki ssl "  # certificates
        "fonts papersize texmf "
        "locale.alias locale.conf localtime timezone "
        "freetds odbc.ini odbcinst.ini ODBCDataSources "
        "krb5.conf krb5.conf.d "
        "gai.conf host.conf hosts networks nsswitch.conf protocols services "  # names
        "alternatives debian_version ld.so.cache ld.so.conf ld.so.conf.d mime.types os-release "
        "redhat-release system-release R perl python3"
    ).split()
)
ETC_PATTERNS = ("python3.*", "java-*-openjdk", "ImageMagick-*")
# What those hold that is for root alone, or for a group that a content's user may be in.
PRIVATE = ("/etc/ssl/private", "/etc/pki/tls/private")

OWN_ETC = ("passwd", "group", "resolv.conf")  # those that programs look for in /etc
OWN_TREES = (OWN_FILES, "/tmp", "/var/tmp", "/home")
_TEMPORARY = ("/tmp", "/var/tmp", layout.at(Role.SCRATCH))


class Base(Enum):
    """Where the components of a source begin."""

    HOST = "host"  # the host's root
    DATA = "data"  # DataDir
    RUN = "run"  # RunDir


@dataclass(frozen=True, kw_only=True)
class Bind:
    """Show a file or directory of the host at `target`; `parts` are its components below `base`.

    Always without set-uid and device files. An optional one that is not there is left out.
    mapped: what the content owns on disk is shown as the process's own.
    """

    base: Base
    parts: tuple[str, ...]
    target: str
    writable: bool = False
    optional: bool = False
    mapped: bool = False


@dataclass(frozen=True, kw_only=True)
class Link:
    """A symbolic link at `target` that says `to`."""

    target: str
    to: str


@dataclass(frozen=True, kw_only=True)
class File:
    """A small read-only file of our own at `target`."""

    target: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Directory:
    """An empty directory at `target`, read-only."""

    target: str


@dataclass(frozen=True, kw_only=True)
class Volatile:
    """A new file system of so many bytes at `target`, of the content's own uid and gid.

    shows: its directories, each with a place of its own as well; "" is the whole of it.
    """

    target: str
    size: int
    uid: int
    gid: int
    shows: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Mask:
    """Something empty over the directory or file at `target`, which a tree of the host holds."""

    target: str
    directory: bool


Entry = Bind | Link | File | Directory | Volatile | Mask


def packed(entries: Sequence[Entry]) -> list[tuple[Any, ...]]:
    """Give entries as root.py takes them: the kind, the target, and what the kind needs."""
    return [_packed(entry) for entry in entries]


def _packed(entry: Entry) -> tuple[Any, ...]:
    match entry:
        case Bind():
            path = "/".join(entry.parts)
            where = (entry.target, entry.base.value, path)
            return ("bind", *where, entry.writable, entry.optional, entry.mapped)
        case Link():
            return "link", entry.target, entry.to
        case File():
            return "file", entry.target, entry.text
        case Volatile():
            return "volatile", entry.target, entry.size, entry.uid, entry.gid, entry.shows
        case Mask():
            return "mask", entry.target, entry.directory
        case Directory():
            return "directory", entry.target


def host_bind(path: str, source: str | None = None) -> Bind:
    """Show a host path at the same path; `source` where its content lies elsewhere (a link)."""
    parts = PurePosixPath(source or path).parts[1:]
    return Bind(base=Base.HOST, parts=parts, target=path, optional=True)


def passwd(uid: int, gid: int, name: str) -> tuple[File, File]:
    """Give the two files that let getpwuid and getgrgid know who the process is."""
    users = (
        "root:x:0:0:root:/:/usr/sbin/nologin\n"
        f"{name}:x:{uid}:{gid}:{name}:/home:/bin/sh\n"
        "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
    )
    groups = f"root:x:0:\n{name}:x:{gid}:\nnogroup:x:65534:\n"
    return (
        File(target=f"{OWN_FILES}/passwd", text=users),
        File(target=f"{OWN_FILES}/group", text=groups),
    )


def plan_shared(host: Sequence[Entry]) -> tuple[Entry, ...]:
    """Give the entries that are the same for every run, in the order in which they are made.

    host: what the host shows to every sandbox outside OWN_TREES.
    """
    entries: list[Entry] = [
        *host,
        *(Link(target=f"/etc/{name}", to=f"..{OWN_FILES}/{name}") for name in OWN_ETC),
        *map(_directory, ("/proc", "/dev", *OWN_TREES, MOUNT_ROOT)),
        Link(
            target=layout.COMPATIBLE_MOUNT_ROOT,
            to=PurePosixPath(MOUNT_ROOT).parent.name,
        ),
    ]
    return _parents_first(entries)


def plan_own(
    job: Job,
    host: Sequence[Entry],
    *,
    uid: int,
    gid: int,
    site: Sequence[Bind] = (),
    home: str | None = None,
) -> tuple[Entry, ...]:
    """Give the entries that are a run's own, in the order in which they are made: parents first.

    host: what the host shows to every sandbox inside OWN_TREES. uid and gid: the process's own.
    site: what the settings show besides. home: the user's own one; None: an empty one of the run.
    """
    scratch = ("tmp", job.run)
    socket = Bind(
        base=Base.RUN,
        parts=(layout.RUN_SOCKETS, job.run),
        target=layout.at(Role.SOCKET),
        writable=True,
    )
    entries: list[Entry] = [
        *host,
        *passwd(uid, gid, job.account or "content"),
        socket,
        *site,
    ]
    if job.limits.tmp is None:
        binds = (Bind(base=Base.DATA, parts=scratch, target=at, writable=True) for at in _TEMPORARY)
        entries += [*binds, _home(scratch, home)]
    else:
        first, *others = _TEMPORARY
        shows = [*(("", other) for other in others), ("shm", SHARED_MEMORY)]
        shows += [("home", "/home")] if home is None else []
        entries += [] if home is None else [_home(scratch, home)]
        size = job.limits.tmp
        entries.append(Volatile(target=first, size=size, uid=uid, gid=gid, shows=tuple(shows)))
    entries += [
        Bind(
            base=Base.DATA,
            parts=layout.components(mount.place),
            target=mount.at,
            writable=mount.writable,
            mapped=bool(job.mapped and mount.place.ids),
        )
        for mount in job.mounts
    ]
    return _parents_first(entries)


def _home(scratch: tuple[str, ...], home: str | None) -> Bind:
    if home is None:
        return Bind(base=Base.DATA, parts=(*scratch, "home"), target="/home", writable=True)
    parts = PurePosixPath(home).parts[1:]
    return Bind(base=Base.HOST, parts=parts, target="/home", writable=True)


def writable(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Give where a process may change files, by a run's own entries."""
    found = [SHARED_MEMORY]
    for entry in entries:
        if isinstance(entry, Bind) and entry.writable:
            found.append(entry.target)
        elif isinstance(entry, Volatile):
            found += [entry.target, *(target for _, target in entry.shows)]
    return tuple(dict.fromkeys(found))


def _directory(target: str) -> Directory:
    return Directory(target=target)


def _parents_first(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    return tuple(sorted(entries, key=lambda entry: entry.target.count("/")))
