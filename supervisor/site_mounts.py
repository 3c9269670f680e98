"""A site's own files in sandboxes: what `[Mount "name"]` may show, where, and to whom. Pure.

Standard library only: the parent checks the settings by these rules, and the privileged helper
checks them again by itself, after it has followed the links of every path.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import PurePosixPath
from typing import Any

from supervisor.layout import COMPATIBLE_MOUNT_ROOT, MOUNT_ROOT

# Of nobody but the sandbox: nothing may stand there, in it or around it.
_OURS = (
    *("/proc", "/dev", "/sys", "/run/places", MOUNT_ROOT, COMPATIBLE_MOUNT_ROOT),
    *(
        f"{above}/{name}"
        for above in ("/etc", "/run")
        for name in ("passwd", "group", "resolv.conf")
    ),
)
# A sandbox cannot be without these: nothing may stand there or around it.
_NEEDED = (
    "/usr/bin /usr/sbin /usr/lib /usr/lib64 /bin /sbin /lib /lib32 /lib64 /libx32 /run /tmp "
    "/var/tmp /home"
).split()
_HOSTS = ("/proc", "/sys", "/dev")  # they would show other processes, or devices
_NUMBER = re.compile(r"[1-9][0-9]{0,15}\Z")
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z")


class Misplaced(ValueError):
    """A mount that cannot be. name: of its section; hint: what to write instead, or ""."""

    def __init__(self, name: str, text: str, hint: str = "") -> None:
        super().__init__(f'[Mount "{name}"] {text}')
        self.name = name
        self.hint = hint


@dataclass(frozen=True, kw_only=True, slots=True)
class SiteMount:
    """One `[Mount "name"]`. path: on the host; at: where sandboxes show it.

    contents: guids, names or numbers of those that see it; () = every content does.
    """

    name: str
    path: str
    at: str
    writable: bool = False
    contents: tuple[str, ...] = ()

    @classmethod
    def of_json(cls, fields: Mapping[str, Any]) -> SiteMount:
        """Read what `dataclasses.asdict` gave."""
        return cls(**{**fields, "contents": tuple(fields["contents"])})

    def is_for(self, number: int, guid: str, name: str) -> bool:
        """Tell whether a content sees it. A name never counts as a number or a guid."""
        return not self.contents or any(_names(word, number, guid, name) for word in self.contents)

    def __str__(self) -> str:
        """Say what it is, in a few words."""
        access = "which it may change" if self.writable else "read-only"
        whom = " and ".join(self.contents)
        return f'[Mount "{self.name}"], {access}, for {whom or "every content"}'


def _names(word: str, number: int, guid: str, name: str) -> bool:
    if _NUMBER.match(word):
        return word == str(number)
    if _GUID.match(word.lower()):
        return word.lower() == guid
    return word == name


def covered(path: str, trees: Iterable[str]) -> bool:
    """Tell whether a path is one of the trees or lies beneath one."""
    return any(path == tree or path.startswith(tree.rstrip("/") + "/") for tree in trees)


def misplaced(mounts: Sequence[SiteMount], hidden: Sequence[str]) -> Iterator[Misplaced]:
    """Yield what is wrong with the mounts of the settings.

    hidden: what no sandbox may see: DataDir, RunDir, where the database lies, the configuration.
    """
    for mount in mounts:
        yield from _wrong_path(mount, hidden)
        yield from _wrong_place(mount)
    for one, other in combinations(mounts, 2):
        yield from _overlapping(one, other)


def _wrong_path(mount: SiteMount, hidden: Sequence[str]) -> Iterator[Misplaced]:
    if not _is_plain(mount.path):
        yield Misplaced(mount.name, f"Path = {mount.path} is not a plain absolute path")
        return
    for secret in (*_HOSTS, *hidden):
        around = covered(secret, [mount.path])
        if around or covered(mount.path, [secret]):
            where = f"{secret} lies in it" if around else f"it lies in {secret}"
            why = "" if mount.path == secret else f"{where}, which "
            yield Misplaced(
                mount.name,
                f"Path = {mount.path} cannot be shown: {why or 'it is what '}content must not see",
                "Name the directories that content needs, one section each.",
            )
            return


def _wrong_place(mount: SiteMount) -> Iterator[Misplaced]:
    at = mount.at
    if not _is_plain(at) or at == "/":
        yield Misplaced(mount.name, f"At = {at} is not a plain absolute path below /")
        return
    around = [place for place in (*_OURS, *_NEEDED) if covered(place, [at])]
    inside = [place for place in _OURS if covered(at, [place])]
    for place in (*around, *inside):
        how = "is" if place == at else "holds" if place in around else "lies in"
        yield Misplaced(
            mount.name,
            f"cannot stand at {at}: it {how} {'what' if place == at else place + ', which'}"
            " a sandbox has itself",
            f'Add a line "At = " to it with another place, such as /srv{mount.path}.',
        )
        return


def _overlapping(one: SiteMount, other: SiteMount) -> Iterator[Misplaced]:
    if one.at == other.at and one.contents and other.contents:
        return  # each for contents of its own
    if covered(one.at, [other.at]) or covered(other.at, [one.at]):
        yield Misplaced(
            other.name,
            f'at {other.at} overlaps [Mount "{one.name}"] at {one.at}',
            "Two may stand at one place if each says for which Content it is.",
        )


def _is_plain(path: str) -> bool:
    plain = path.startswith("/") and not path.startswith("//") and "\0" not in path
    return plain and str(PurePosixPath(path)) == path and ".." not in PurePosixPath(path).parts
