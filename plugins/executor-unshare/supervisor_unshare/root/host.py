"""What this host shows to every sandbox: system trees, the listed part of /etc, interpreters."""

from __future__ import annotations

import errno
import fnmatch
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from supervisor.layout import COMPATIBLE_MOUNT_ROOT, MOUNT_ROOT
from supervisor.site_mounts import SiteMount, covered
from supervisor_unshare.linux.answering import has_server
from supervisor_unshare.requests.rules import Rules
from supervisor_unshare.root import site
from supervisor_unshare.root.plan_mounts import (
    ETC,
    ETC_PATTERNS,
    OWN_TREES,
    SYSTEM_TREES,
    TOOL_TREES,
    Bind,
    Entry,
    Link,
    host_bind,
)


def interpreter_trees() -> list[str]:
    """Give the directories that the interpreter of this very process needs, outside /usr."""
    prefixes = {sys.prefix, sys.base_prefix, os.path.realpath(sys.base_prefix)}
    return sorted(prefix for prefix in prefixes if not covered(prefix, SYSTEM_TREES))


def shown_trees() -> tuple[str, ...]:
    """Give every tree that sandboxes see read-only at its own path, none inside another."""
    found = {*SYSTEM_TREES, *TOOL_TREES, *interpreter_trees()}
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounts = file.readlines()
    trees: list[str] = []
    for tree in sorted(part for whole in found for part in _around_our_own(whole)):
        # On a server that is silent just now it is there as well; to look would take for ever.
        if (has_server(tree, mounts) or os.path.lexists(tree)) and not covered(tree, trees):
            trees.append(tree)
    return tuple(trees)


def _around_our_own(tree: str) -> list[str]:
    """Give a tree, or its parts where sandboxes have directories of their own inside it."""
    own = (MOUNT_ROOT, COMPATIBLE_MOUNT_ROOT)
    if covered(tree, own):
        return []
    if not any(covered(path, [tree]) for path in own) or not os.path.isdir(tree):
        return [tree]
    children = (os.path.join(tree, name) for name in os.listdir(tree))
    return [part for child in children for part in _around_our_own(child)]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """What every sandbox shows of the host.

    shared: the same mounts for all; own: those that lie in a directory which each run has itself.
    site: the mounts of the settings that have a place here.
    """

    shared: tuple[Entry, ...]
    own: tuple[Entry, ...]
    site: tuple[SiteMount, ...] = ()


class HostView:
    """The entries for the trees and for /etc, looked at again whenever /etc has changed."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self.trees = rules.trees
        self._changed = -1
        self._shown = Shown(shared=(), own=())

    @property
    def shown(self) -> Shown:
        """Give the entries as of now; the same object while nothing has changed."""
        changed = os.stat("/etc").st_mtime_ns
        if changed != self._changed:
            self._shown = see(self._rules)
            self._changed = changed
        return self._shown

    def forget(self) -> None:
        """Look again at the next question: something else of the host has changed."""
        self._changed = -1


def see(rules: Rules) -> Shown:
    """Give what every sandbox is shown as the host is right now."""
    found: list[Entry] = [*look(rules.trees)]
    found += site.masks(found, rules.hidden)
    placed = tuple(mount for mount in rules.site if not site.unplaced(mount, found))
    found += site.mount_points(placed, found)
    own = tuple(entry for entry in found if covered(entry.target, OWN_TREES))
    shared = tuple(entry for entry in found if entry not in own)
    return Shown(shared=shared, own=own, site=placed)


def look(trees: Sequence[str]) -> tuple[Bind | Link, ...]:
    """Give the entries for the trees and for /etc as they are on the host right now."""
    etc = sorted({*ETC, *(name for name in os.listdir("/etc") if _wanted(name))})
    shown = (*trees, *(f"/etc/{name}" for name in etc))
    entries = (_entry(path, shown) for path in shown)
    return tuple(entry for entry in entries if entry is not None)


def _wanted(name: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in ETC_PATTERNS)


def _entry(path: str, shown: Sequence[str]) -> Bind | Link | None:
    """A link stays one where its target is shown too; else the target is shown in its place."""
    try:
        target = os.readlink(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EINVAL:  # not a link
            raise
        return host_bind(path, _resolved(path))
    real = _real(path)
    if covered(real, shown) and real != path:
        return Link(target=path, to=target)
    return None if site.found(real) is None else host_bind(path, real)


def _resolved(path: str) -> str:
    real = _real(path)
    return path if site.found(real) is None else real


def _real(path: str) -> str:
    """Follow the links of a path, as far as they lead; raises OSError where that cannot be told."""
    try:
        return os.path.realpath(path, strict=True)
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            raise
        return os.path.realpath(path)
