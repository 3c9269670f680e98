"""From physical paths to those inside sandboxes and back, each with what it is. Pure.

Content knows its files by the paths of its sandbox; whoever looks for one on disk, or reads one in
a log, needs the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath

import attrs

from supervisor import layout
from supervisor.layout import COMPATIBLE_MOUNT_ROOT, MOUNT_ROOT, PlaceKind, PlaceRef, Role
from supervisor.site_mounts import SiteMount, covered


@attrs.frozen(kw_only=True)
class Way:
    """One file by its two names; None: it has none there. about: what it is, and for whom."""

    physical: str | None
    sandbox: str | None
    about: str


@attrs.frozen(kw_only=True)
class Known:
    """What fills the gaps of a path inside a sandbox; None: not known, and shown as {name}.

    guid and name are the content's, if it is known.
    """

    content: int | None = None
    guid: str = ""
    name: str = ""
    deployment: int | None = None
    run: str | None = None


@attrs.frozen(kw_only=True)
class Tree:
    """A tree of files: below which directory it lies, where sandboxes show it, what it is.

    parts: its components, of which those in braces differ from content to content.
    """

    base: str
    parts: tuple[str, ...]
    at: str
    about: str


def _tree(base: str, parts: str, at: str, about: str) -> Tree:
    return Tree(base=base, parts=tuple(parts.split("/")), at=at, about=about)


_SCRATCH = "temporary files of one process, gone with it"
# The first that matches gives the sandbox path that is named; longer ones stand before shorter,
# and names before gaps.
TREES = (
    _tree(
        "DataDir", "apps/{content}/{deployment}", layout.at(Role.SOURCE),
        "the unpacked bundle; an app may write to it, shares it among its processes,"
        " and gets a new one with each deployment",
    ),
    _tree(
        "DataDir", "reports/{content}/{variant}/{rendering}", layout.at(Role.OUTPUT),
        "what one rendering has written",
    ),
    _tree(
        "DataDir", "state/{content}", layout.at(Role.STATE),
        "what survives deployments, such as bookmarks; shared by the content's processes",
    ),
    _tree(
        "DataDir", "tmp/{run}/home", "/home",
        "the home of one process, gone with it; of content that runs as a user of this machine,"
        " that user's own home if there is one",
    ),
    _tree("DataDir", "tmp/{run}", "/tmp", _SCRATCH),
    _tree("DataDir", "tmp/{run}", "/var/tmp", _SCRATCH),
    _tree("DataDir", "tmp/{run}", layout.at(Role.SCRATCH), _SCRATCH),
    _tree(
        "DataDir", "bundles/{digest}.tar.gz", layout.at(Role.BUNDLE),
        "the uploaded archive, shown only while it is unpacked",
    ),
    _tree(
        "RunDir", f"{layout.RUN_SOCKETS}/{{run}}", layout.at(Role.SOCKET),
        "where one process listens",
    ),
    _tree(
        "DataDir", "libraries/{library}", f"{MOUNT_ROOT}/{{library}}",
        "installed packages, shared by contents; read-only except while packages are installed",
    ),
)  # fmt: skip


def ways(
    path: str,
    *,
    data_dir: str,
    run_dir: str,
    known: Known | None = None,
    mounts: Sequence[SiteMount] = (),
) -> Sequence[Way]:
    """Give every pair of names that a path belongs to, physical or of a sandbox; at least one.

    path: absolute; ValueError otherwise. What no sandbox shows has no name there. mounts: those of
    the settings.
    """
    if not PurePosixPath(path).is_absolute():
        raise ValueError(f"{path!r} is not an absolute path")
    clean = _clean(path)
    bases = {"DataDir": _clean(data_dir), "RunDir": _clean(run_dir)}
    for base, directory in bases.items():
        if clean.is_relative_to(directory):
            return _from_disk(clean, base, directory)
    if clean.is_relative_to(COMPATIBLE_MOUNT_ROOT):
        above = PurePosixPath(MOUNT_ROOT).parent
        clean = above / clean.relative_to(COMPATIBLE_MOUNT_ROOT)
    known = known or Known()
    found = [*_of_mounts(str(clean), mounts, known)] or [*_from_sandbox(clean, bases, known)]
    if found:
        return found
    about = (
        "nothing of a sandbox's own: read-only as on this machine where `doctor` says that every"
        " sandbox sees it; else hidden, until a section [Mount] shows it"
    )
    return [Way(physical=str(clean), sandbox=str(clean), about=about)]


def _of_mounts(path: str, mounts: Sequence[SiteMount], known: Known) -> Iterator[Way]:
    """Yield the ways by mounts of the settings: from their place in sandboxes, and to it."""
    for mount in mounts:
        about = str(mount)
        if known.content is not None and not mount.is_for(known.content, known.guid, known.name):
            about += "; not for this one"
        if covered(path, [mount.at]):
            physical = str(PurePosixPath(mount.path, PurePosixPath(path).relative_to(mount.at)))
            yield Way(physical=physical, sandbox=path, about=about)
        elif covered(path, [mount.path]):
            inside = str(PurePosixPath(mount.at, PurePosixPath(path).relative_to(mount.path)))
            yield Way(physical=path, sandbox=inside, about=about)


def _from_disk(path: PurePosixPath, base: str, directory: PurePosixPath) -> Sequence[Way]:
    parts = path.relative_to(directory).parts
    found = []
    matched: tuple[str, ...] = ()
    for tree in TREES:
        gaps = _match(tree, parts) if tree.base == base else None
        if gaps is None or (matched and tree.parts != matched):
            continue
        matched = tree.parts
        of = ", ".join(f"{name} {value}" for name, value in gaps.items())
        inside = PurePosixPath(_filled(tree.at, gaps), *parts[len(tree.parts) :])
        found.append(Way(physical=str(path), sandbox=str(inside), about=f"{tree.about} ({of})"))
    hidden = f"hidden: {base} is not shown in any sandbox"
    return found or [Way(physical=str(path), sandbox=None, about=hidden)]


def _filled(pattern: str, gaps: Mapping[str, object]) -> str:
    for name, value in gaps.items():
        pattern = pattern.replace(f"{{{name}}}", str(value))
    return pattern


def _match(tree: Tree, parts: Sequence[str]) -> Mapping[str, str] | None:
    """Give what stands in the gaps where a path lies in the tree, else None."""
    if len(parts) < len(tree.parts):
        return None
    gaps: dict[str, str] = {}
    for pattern, part in zip(tree.parts, parts, strict=False):
        before, brace, rest = pattern.partition("{")
        name, _, after = rest.partition("}")
        if not brace:
            if pattern != part:
                return None
            continue
        if not (part.startswith(before) and part.endswith(after)):
            return None
        gaps[name] = part[len(before) : len(part) - len(after)]
    return gaps if _is_place(tree, gaps) else None


def _is_place(tree: Tree, gaps: Mapping[str, str]) -> bool:
    """Tell whether what stands in the gaps can be ids of ours."""
    numbers = [
        gaps[name] for name in ("content", "deployment", "variant", "rendering") if name in gaps
    ]
    if not all(number.isascii() and number.isdecimal() for number in numbers):
        return False
    if "digest" in gaps:
        try:
            layout.components(PlaceRef(kind=PlaceKind.BUNDLE, components=(gaps["digest"],)))
        except ValueError:
            return False
    return True


def _from_sandbox(
    path: PurePosixPath, bases: Mapping[str, PurePosixPath], known: Known
) -> Iterator[Way]:
    given = {name: value for name, value in attrs.asdict(known).items() if value is not None}
    for tree in TREES:
        at = PurePosixPath(tree.at)
        gaps = _match_at(at.parts, path.parts)
        if gaps is None:
            continue
        parts = (_filled(part, {**given, **gaps}) for part in tree.parts)
        place = bases[tree.base].joinpath(*parts, *path.parts[len(at.parts) :])
        yield Way(physical=str(place), sandbox=str(path), about=tree.about)
        return


def _match_at(pattern: Sequence[str], path: Sequence[str]) -> Mapping[str, str] | None:
    """Give what stands in the gaps of a place in sandboxes, {} for one without; None elsewhere."""
    if len(path) < len(pattern):
        return None
    pairs = list(zip(pattern, path, strict=False))
    if any(want != part and not want.startswith("{") for want, part in pairs):
        return None
    return {want.strip("{}"): part for want, part in pairs if want.startswith("{")}


def _clean(path: str) -> PurePosixPath:
    """Take `.` and `..` out as a person means them: no link is followed."""
    parts: list[str] = []
    for part in PurePosixPath(path).parts[1:]:
        if part == "..":
            parts = parts[:-1]
        else:
            parts.append(part)
    return PurePosixPath("/", *parts)
