"""Build: a section's class and its entries in the file become its values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from supervisor.errors import SupervisorError
from supervisor.settings.gcfg import Entry
from supervisor.settings.keys import keys_of
from supervisor.settings.values import Unfit

T = TypeVar("T")


def build(kind: type[T], entries: Sequence[Entry]) -> T:
    """Build a section from its entries: the last value counts, of multi keys all; empty is unset.

    Raises SupervisorError, usually "settings-invalid", naming the place of the first value that
    does not fit. Unknown keys are left to `unknown`.
    """
    section, problems = attempt(kind, entries)
    if problems:
        raise problems[0]
    assert section is not None
    return section


def attempt(kind: type[T], entries: Sequence[Entry]) -> tuple[T | None, list[SupervisorError]]:
    """Build a section, or say all that stands in the way."""
    given: dict[str, Any] = {}
    problems: list[SupervisorError] = []
    keys = keys_of(kind)
    for entry in entries:
        key = keys.get(entry.key.lower())
        if key is None or not entry.value:
            continue
        try:
            value = key.read(entry.value)
        except (ValueError, SupervisorError) as error:
            named = dataclasses.replace(entry, key=key.name)  # as it is written, not in any case
            problems.append(_refusal(named, error, secret=key.secret))
            continue
        given[key.field] = (*given.get(key.field, ()), value) if key.multi else value
    for key in keys.values():
        if key.required and key.field not in given and not problems:
            problems.append(_misfit(kind, entries, f"{key.name} must have a value"))
    if problems:
        return None, problems
    try:
        return kind(**given), []
    except (ValueError, TypeError) as error:  # values that do not go together
        return None, [_misfit(kind, entries, str(error))]


def of_section(entries: Iterable[Entry], section: str) -> list[Entry]:
    """Give the entries of a section, those of all its names where it has names."""
    return [entry for entry in entries if entry.section.lower() == section.lower()]


def by_name(entries: Iterable[Entry]) -> dict[str, list[Entry]]:
    """Sort the entries of a section with names by them: `[Mount "fonts"]` is under fonts."""
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.subsection, []).append(entry)
    return found


def misnamed(kind: type[Any], entries: Iterable[Entry]) -> list[SupervisorError]:
    """Refuse a section with a name that has none, and the reverse."""
    named = getattr(kind, "named", False)
    section = kind.section
    form = f'[{section} "name"]' if named else f"[{section}]"
    return [
        entry.refusal(f"the section is written {form}")
        for entry in of_section(entries, section)
        if bool(entry.subsection) != named
    ]


def _refusal(entry: Entry, error: Exception, *, secret: bool) -> SupervisorError:
    text, hint, code = str(error), "", "settings-invalid"
    if isinstance(error, Unfit):
        hint, code, secret = error.hint, error.code, secret or error.secret
    elif isinstance(error, SupervisorError):
        text, hint, code = error.message, error.hint, error.code
    if secret:
        entry = entry.masked()
        for written in (repr(entry.value), entry.value):
            text, hint = (said.replace(written, "(secret)") for said in (text, hint))
    return entry.refusal(text, hint, code=code)


def _misfit(kind: type[Any], entries: Sequence[Entry], text: str) -> SupervisorError:
    where = f"{entries[0].place}: " if entries else ""
    return SupervisorError("settings-invalid", f"{where}[{kind.section}]: {text}")
