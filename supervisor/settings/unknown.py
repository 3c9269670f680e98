"""Unknown: warnings for what a file says and nobody reads, with the nearest thing that exists."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from supervisor.settings.gcfg import Entry
from supervisor.settings.keys import Key, keys_of


def warnings(entries: Sequence[Entry], kinds: Sequence[Any]) -> list[str]:
    """Give a warning for each key of these sections that is not there, or says that it warns."""
    sections = {kind.section.lower(): kind for kind in kinds}
    found: list[str] = []
    for entry in entries:
        kind = sections.get(entry.section.lower())
        key = keys_of(kind).get(entry.key.lower()) if kind is not None else None
        if key is not None and (said := key.noted if entry.value else key.empty):
            found.append(f"{entry.place}: {key.name} {said}")
    return found + unknown_keys(entries, {kind.section: key_names(kind) for kind in kinds})


def unknown_keys(entries: Iterable[Entry], known: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Give a warning, with the nearest key, for each key that its section does not have.

    known: section → its keys, lower case → as they are written; other sections are left alone.
    """
    sections = {section.lower(): keys for section, keys in known.items()}
    found: list[str] = []
    for entry in entries:
        keys = sections.get(entry.section.lower())
        if keys is None or entry.key.lower() in keys:
            continue
        near = _near(entry.key, keys)
        meant = f"; did you mean {near}?" if near else ", it is ignored"
        found.append(f"{entry.place}: [{entry.section}] has no key {entry.key}{meant}")
    return found


def unknown_sections(entries: Iterable[Entry], kinds: Sequence[Any]) -> list[str]:
    """Give one warning for each section that is none of these: the core's and all plugins'."""
    sections = {kind.section.lower(): kind.section for kind in kinds}
    found: dict[str, str] = {}
    for entry in entries:
        name = entry.section.lower()
        if name not in sections and name not in found:
            near = _near(entry.section, sections)
            meant = f"; did you mean [{near}]?" if near else ", it is ignored"
            found[name] = f"{entry.place}: no loaded plugin has a section [{entry.section}]{meant}"
    return list(found.values())


def key_names(kind: type[Any]) -> dict[str, str]:
    """Give all that a section may hold, lower case → as it is written: keys, files of secrets."""
    names: dict[str, str] = {}
    for name, key in keys_of(kind).items():
        names[name] = key.name
        if key.secret:
            names[file_of(key).lower()] = file_of(key)
    return names


def file_of(key: Key) -> str:
    """Give the key that names the file of a secret."""
    return f"{key.name}File"


def _near(word: str, names: Mapping[str, str]) -> str:
    found = difflib.get_close_matches(word.lower(), names, n=1)
    return names[found[0]] if found else ""
