"""What runs as root must be writable by root alone: interpreter, this package, the helper's files.

The helper is found by its entry point without importing anything of its plugin.
"""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.machinery import PathFinder

from supervisor.errors import SupervisorError
from supervisor.parent.identity import Identity

HELPER_GROUP = "content_supervisor.helpers"
NO_HELPER = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class HelperModule:
    """An installed helper: the module that is its program, and where its top package lies."""

    name: str
    module: str
    package: str


def find_helper(name: str) -> HelperModule | None:
    """Find the helper that the configuration names: "" is the only one installed.

    None where the name is `none`, or "" and none is installed. Raises
    SupervisorError("settings-invalid") where it is not installed, or the name is not unique.
    """
    if name.lower() == NO_HELPER:
        return None
    installed = list(metadata.entry_points(group=HELPER_GROUP))
    found = [point for point in installed if point.name == name or not name]
    names = ", ".join(sorted({point.name for point in installed})) or "none"
    if not found and not name:
        return None
    if not found:
        raise SupervisorError(
            "settings-invalid",
            f"Privileged.Helper = {name}: no such helper is installed (installed: {names})",
        )
    if len({point.value for point in found}) > 1:
        raise SupervisorError(
            "settings-invalid",
            f"several helpers are installed ({names}); only one that is named may run as root",
            hint="Write the one you want: [Privileged] Helper.",
        )
    module = found[0].module
    spec = PathFinder.find_spec(module.partition(".")[0])
    if spec is None or spec.origin is None:
        raise SupervisorError(
            "settings-invalid", f"Privileged.Helper = {found[0].name}: {module} is not installed"
        )
    return HelperModule(name=found[0].name, module=module, package=os.path.dirname(spec.origin))


def program_paths(helper: HelperModule | None) -> Iterator[str]:
    """Yield the files and trees that parent and helper run as root."""
    yield sys.executable
    yield os.path.join(sys.prefix, "pyvenv.cfg")
    yield from (path for path in sys.path if os.path.exists(path))
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        if os.path.isdir(folder):  # .pth files and what they import run at every start
            yield from (entry.path for entry in os.scandir(folder))
    custom = PathFinder.find_spec("sitecustomize")
    if custom is not None and custom.origin is not None:
        yield custom.origin
    yield from tree(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    if helper is not None:
        yield from tree(helper.package)


def tree(top: str) -> Iterator[str]:
    """Yield a directory and all that is below it."""
    yield top
    for folder, folders, files in os.walk(top):
        for name in (*folders, *files):
            yield os.path.join(folder, name)


def refuse_writable(
    paths: Iterable[str],
    *,
    owner: int = 0,
    groups: frozenset[int] = frozenset({0}),
    refusal: Callable[[str, str], SupervisorError] | None = None,
) -> None:
    """Refuse a path if anybody but `owner` could replace or change it, or a directory above it.

    Links are followed, and each one's own place is checked too. groups: who may write as well.
    Raises SupervisorError("not-root-owned") with the first path that is wrong, or what `refusal`
    makes of the path and what is wrong with it.
    """
    checked: set[str] = set()
    try:
        for path in paths:
            _check(os.path.abspath(path), owner, groups, checked, depth=0)
    except _Weak as weak:
        raise (refusal or _refusal)(weak.path, weak.problem) from None


class _Weak(Exception):
    def __init__(self, path: str, problem: str) -> None:
        super().__init__(path, problem)
        self.path, self.problem = path, problem


def _check(path: str, owner: int, groups: frozenset[int], checked: set[str], depth: int) -> None:
    if path in checked:
        return
    checked.add(path)
    parent = os.path.dirname(path)
    if parent != path:
        _check(parent, owner, groups, checked, depth)
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return  # gone since it was listed, such as a compiled file being replaced
    if found.st_uid not in (0, owner):
        raise _Weak(path, f"belongs to uid {found.st_uid}")
    if stat.S_ISLNK(found.st_mode):
        if depth > 40:
            raise _Weak(path, "is one of too many links")
        _check(os.path.join(parent, os.readlink(path)), owner, groups, checked, depth + 1)
    elif stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX:
        return  # as in /tmp: nobody may replace what another owns, and what we use is checked
    elif found.st_mode & stat.S_IWOTH:
        raise _Weak(path, "can be written by everybody")
    elif found.st_mode & stat.S_IWGRP and found.st_gid not in groups:
        raise _Weak(path, f"can be written by the group {found.st_gid}")


def _refusal(path: str, problem: str) -> SupervisorError:
    return SupervisorError(
        "not-root-owned",
        f"{path} {problem}, and would be run or obeyed as root",
        hint="Install the server where only root can write, for example with a virtual environment"
        " made by root in /opt/content-supervisor.",
    )


def refuse_unreachable(paths: Iterable[str], who: Identity, *, code: str, hint: str) -> None:
    """Refuse a file that `who` cannot read, a directory that he cannot enter, or one above it.

    Raises SupervisorError(code) naming what is closed to him.
    """
    groups = {who.gid, *who.groups}
    for path in (way for each in paths for way in (each, os.path.realpath(each))):
        wanted, place = (0o1 if os.path.isdir(path) else 0o4), path
        while True:
            found = os.stat(place)
            shift = 6 if found.st_uid == who.uid else 3 if found.st_gid in groups else 0
            if not found.st_mode & wanted << shift:
                verb = "read" if wanted == 0o4 else "enter"
                raise SupervisorError(
                    code,
                    f"the user {who.name} cannot {verb} {place}, and needs {path}",
                    hint=hint,
                )
            if place == "/":
                break
            wanted, place = 0o1, os.path.dirname(place)
