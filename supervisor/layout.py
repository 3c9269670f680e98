"""Where roles lie: physical places under DataDir, sandbox paths under MountRoot, and back.

Standard library only: the privileged helper derives every physical path from here. A PlaceRef is
kind, ids and components, never a path, so that no message can name a file that is not ours.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

MOUNT_ROOT = "/opt/content-supervisor/mnt"
# inside sandboxes a link to the parent of MOUNT_ROOT
COMPATIBLE_MOUNT_ROOT = "/opt/rstudio-connect"

CORE_SOCKET = "core.sock"  # in RunDir: the API
ADMIN_TOKEN = "admin.token"  # beside it where the server has no root, mode 0600

_COMPONENT = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._+-]{1,255}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
MAX_DEPTH = 6


class PlaceKind(StrEnum):
    """The kinds of place that a job may name. Each lies in a directory of its own under DataDir."""

    DEPLOYMENT = "deployment"  # ids: content, deployment
    RENDERING = "rendering"  # ids: content, variant, rendering
    STATE = "state"  # ids: content
    SCRATCH = "scratch"  # components: run id; gone with the run
    BUNDLE = "bundle"  # components: digest; one file
    LIBRARY = "library"  # components: root, then the key within it


@dataclass(frozen=True, kw_only=True)
class PlaceRef:
    """A place under DataDir: kind, ids (positive integers) and components ([A-Za-z0-9._+-])."""

    kind: PlaceKind
    ids: tuple[int, ...] = ()
    components: tuple[str, ...] = ()


# kind → (directory under DataDir, number of ids, least and most components)
_SHAPE: dict[PlaceKind, tuple[str, int, int, int]] = {
    PlaceKind.DEPLOYMENT: ("apps", 2, 0, 0),
    PlaceKind.RENDERING: ("reports", 3, 0, 0),
    PlaceKind.STATE: ("state", 1, 0, 0),
    PlaceKind.SCRATCH: ("tmp", 0, 1, 1),
    PlaceKind.BUNDLE: ("bundles", 0, 1, 1),
    PlaceKind.LIBRARY: ("libraries", 0, 1, MAX_DEPTH),
}


def components(place: PlaceRef) -> tuple[str, ...]:
    """Give the path components of a place below DataDir, first to last.

    Raises ValueError for a place of the wrong shape: a wrong number of ids, an id below 1, a
    component outside [A-Za-z0-9._+-], `.` or `..`, or a digest that is not 64 hex digits.
    """
    directory, ids, least, most = _SHAPE[PlaceKind(place.kind)]
    if len(place.ids) != ids or not least <= len(place.components) <= most:
        raise ValueError(f"a {place.kind} place needs {ids} ids and {least} to {most} components")
    for number in place.ids:
        if type(number) is not int or not 1 <= number < 2**53:
            raise ValueError(f"{number!r} is not an id")
    for component in place.components:
        if type(component) is not str or not _COMPONENT.match(component):
            raise ValueError(f"{component!r} is not a safe path component")
    if place.kind == PlaceKind.BUNDLE:
        if not _DIGEST.match(place.components[0]):
            raise ValueError(f"{place.components[0]!r} is not a digest")
        return (directory, f"{place.components[0]}.tar.gz")
    return (directory, *map(str, place.ids), *place.components)


def log_components(content: int, run: str) -> tuple[str, ...]:
    """Give the components, below DataDir, of a run's log file (written by the core alone)."""
    return ("jobs", str(content), run, "log")


class Role(StrEnum):
    """What a mount is for. Runtimes name roles; the core and the helper know where they lie."""

    SOURCE = "source"  # the unpacked application
    OUTPUT = "output"  # where a render writes
    LIBRARY = "library"  # a package library
    RUNTIME_DATA = "runtime-data"  # an interpreter's own data directory
    SCRATCH = "scratch"  # the run's temporary directory: /tmp, /var/tmp and {MountRoot}/tmp
    HOME = "home"  # /home
    STATE = "state"  # survives deployments: bookmarks
    BUNDLE = "bundle"  # the uploaded archive, while it is unpacked
    SOCKET = "socket"  # the directory that holds the run's listening socket


# role → directory under MOUNT_ROOT (HOME lies at /home instead)
_AT: dict[Role, str] = {
    Role.SOURCE: "app",
    Role.OUTPUT: "report",
    Role.SCRATCH: "tmp",
    Role.STATE: "state",
    Role.BUNDLE: "bundle.tar.gz",
    Role.SOCKET: "socket",
}


def at(role: Role, *parts: str) -> str:
    """Give the sandbox path of a role; LIBRARY and RUNTIME_DATA need their parts (`R`, `4.2.2`)."""
    if role is Role.HOME:
        return "/home"
    if role in (Role.LIBRARY, Role.RUNTIME_DATA):
        if not parts:
            raise ValueError(f"{role} needs the parts of its path")
        return str(PurePosixPath(MOUNT_ROOT, *parts))
    return str(PurePosixPath(MOUNT_ROOT, _AT[role], *parts))


SOCKET_NAME = "app.sock"
LISTEN_AT = f"{MOUNT_ROOT}/socket/{SOCKET_NAME}"
BUSY_NAME = "busy"  # beside the socket: the process works though nobody is connected
BUSY_AT = f"{MOUNT_ROOT}/socket/{BUSY_NAME}"
RUN_SOCKETS = "w"  # directory of RunDir that holds one directory per run
