"""Aliases: keys of the reference system that have another place here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from supervisor.settings.gcfg import Entry


def _program_of(home: str) -> str:
    """Give the program of a directory such as /opt/R/4.2.2, where it is not a program already."""
    return home if home.rstrip("/").endswith("/bin/R") else f"{home.rstrip('/')}/bin/R"


# section and key, lower case → where they belong, and what becomes of the value
_ALIASES: dict[tuple[str, str], tuple[str, str, Callable[[str], str]]] = {
    ("server", "rversion"): ("R", "Executable", _program_of),
    ("metrics", "prometheuslisten"): ("Metrics", "Listen", str),
}


def translate(entries: Iterable[Entry]) -> list[Entry]:
    """Give the entries with each alias in its proper place; it still says where it stands."""
    found = []
    for entry in entries:
        proper = _ALIASES.get((entry.section.lower(), entry.key.lower()))
        if proper is not None and not entry.subsection:
            section, key, convert = proper
            value = convert(entry.value) if entry.value else ""
            entry = dataclasses.replace(entry, section=section, key=key, value=value)
        found.append(entry)
    return found
