"""Environment: SUPERVISOR_SECTION_KEY overrides a key of the file, of any section.

SUPERVISOR_SERVER_DATADIR is `[Server] DataDir`, SUPERVISOR_MOUNT_FONTS_PATH `[Mount "fonts"] Path`,
and SUPERVISOR_PYTHON_EXECUTABLE a key of a plugin. Case does not matter, nor do underscores within
a key; in the name of a section they stand for whatever a variable's name cannot hold. A key that
may be repeated takes one value a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from supervisor.settings.aliases import translate
from supervisor.settings.gcfg import Entry
from supervisor.settings.keys import keys_of
from supervisor.settings.unknown import file_of, key_names

PREFIX = "SUPERVISOR_"
# Set by supervisord for its own children: not meant for us.
_FOREIGN = {
    "SUPERVISOR_ENABLED", "SUPERVISOR_SERVER_URL", "SUPERVISOR_PROCESS_NAME",
    "SUPERVISOR_GROUP_NAME",
}  # fmt: skip


def override(
    entries: Iterable[Entry], environ: Mapping[str, str], kinds: Sequence[Any]
) -> list[Entry]:
    """Replace what the environment names, in the file's entries or beside them."""
    merged = list(entries)
    places = _places(merged, kinds)
    for variable in sorted(environ):
        rest = variable.upper().removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or variable in _FOREIGN:
            continue
        place = _place(rest, places, kinds)
        if place is None or not place[-1]:
            continue
        section, subsection, key = place
        given = translate(
            Entry(
                section=section,
                subsection=subsection,
                key=key,
                value=value.strip(),
                file=f"the environment variable {variable}",
                line=0,
            )
            for value in environ[variable].splitlines() or [""]
        )
        replaced = {_identity(entry, name) for entry in given for name in _both(entry, kinds)}
        merged = [entry for entry in merged if _identity(entry, entry.key) not in replaced]
        merged += given
    return merged


def variable(section: str, key: str, subsection: str = "") -> str:
    """Give the name of the variable that overrides a key."""
    parts = (_plain(part) for part in (section, subsection, key) if part)
    return PREFIX + "_".join(parts)


def _places(entries: Iterable[Entry], kinds: Sequence[Any]) -> dict[str, tuple[str, str]]:
    """Give the sections that there are, as a variable spells them → as the file does."""
    found = {
        _plain(kind.section): (kind.section, "")
        for kind in kinds
        if not getattr(kind, "named", False)
    }
    for entry in entries:
        parts = [entry.section, entry.subsection] if entry.subsection else [entry.section]
        found.setdefault("_".join(map(_plain, parts)), (entry.section, entry.subsection))
    return found


def _place(
    rest: str, places: Mapping[str, tuple[str, str]], kinds: Sequence[Any]
) -> tuple[str, str, str] | None:
    """Give section, its name and the key that the rest of a variable's name means."""
    for known in sorted(places, key=len, reverse=True):
        if rest.startswith(f"{known}_") and len(rest) > len(known) + 1:
            return *places[known], _key(rest[len(known) + 1 :], places[known][0], kinds)
    section, _, key = rest.partition("_")
    if not section or not key:
        return None
    for kind in kinds:
        if getattr(kind, "named", False) and _plain(kind.section) == section:
            name, _, key = key.rpartition("_")
            return kind.section, name.lower(), _key(key, kind.section, kinds)
    return section.lower(), "", _key(key, section, kinds)


def _key(written: str, section: str, kinds: Sequence[Any]) -> str:
    plain = written.replace("_", "").lower()
    for kind in kinds:
        if kind.section.lower() == section.lower():
            return key_names(kind).get(plain, plain)
    return plain


def _both(entry: Entry, kinds: Sequence[Any]) -> Iterator[str]:
    """Yield the key, and the one that would say the same by the file of a secret or without."""
    yield entry.key
    for kind in kinds:
        if kind.section.lower() == entry.section.lower():
            for key in keys_of(kind).values():
                pair = [key.name.lower(), file_of(key).lower()]
                if key.secret and entry.key.lower() in pair:
                    yield from pair


def _identity(entry: Entry, key: str) -> tuple[str, str, str]:
    return entry.section.lower(), entry.subsection, key.lower()


def _plain(word: str) -> str:
    return re.sub(r"[^A-Z0-9]", "_", word.upper())
