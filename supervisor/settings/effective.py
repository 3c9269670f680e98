"""Effective: every key with the value that counts and where that comes from; and what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from supervisor.settings import values
from supervisor.settings.gcfg import Entry
from supervisor.settings.keys import CONFIG_RELOAD, RELOAD, Key, keys_of

SECRET = "(secret)"
DEFAULT = "default"


@dataclass(frozen=True, kw_only=True, slots=True)
class Effective:
    """One key. section: as its header says it, `Mount "fonts"`; texts: values as they are written.

    origin: `default`, FILE:LINE, or the variable of the environment; change: what brings a change
    into force; read: how a value becomes what it means.
    """

    section: str
    key: str
    texts: tuple[str, ...]
    origin: str
    change: str
    secret: bool = False
    read: Callable[[str], Any] = values.text

    def as_json(self) -> dict[str, Any]:
        """Give it for the API: a secret is not in it."""
        shown = [SECRET if self.secret and value else value for value in self.texts]
        return {
            "section": self.section,
            "key": self.key,
            "values": shown,
            "origin": self.origin,
            "change": self.change,
        }


def effective(entries: Sequence[Entry], kinds: Sequence[Any]) -> list[Effective]:
    """Give every key of these sections, then those of others that the file has all the same."""
    found: list[Effective] = []
    for kind in kinds:
        mine = [entry for entry in entries if entry.section.lower() == kind.section.lower()]
        if getattr(kind, "named", False):
            for name in dict.fromkeys(entry.subsection for entry in mine):
                named = [entry for entry in mine if entry.subsection == name]
                found += _of_section(kind, f'{kind.section} "{name}"', named)
        else:
            found += _of_section(kind, kind.section, mine)
    known = {kind.section.lower() for kind in kinds}
    return found + list(
        _of_others(entry for entry in entries if entry.section.lower() not in known)
    )


def changed(
    before: Sequence[Entry], after: Sequence[Entry], kinds: Sequence[Any]
) -> list[Effective]:
    """Give the keys whose value is another, as they are now."""
    old = {(one.section, one.key.lower()): one for one in effective(before, kinds)}
    new = {(one.section, one.key.lower()): one for one in effective(after, kinds)}
    return [
        new.get(name) or old[name]
        for name in {**old, **new}
        if _meaning(old.get(name)) != _meaning(new.get(name))
    ]


def merge(
    before: Iterable[Entry], after: Iterable[Entry], kinds: Sequence[Any]
) -> tuple[Entry, ...]:
    """Give what is in force after `config reload`: of the new entries those that it may bring.

    A key that needs more than that keeps its old entries.
    """
    reloadable = {
        (kind.section.lower(), name)
        for kind in kinds
        for name, key in keys_of(kind).items()
        if key.change == CONFIG_RELOAD
    }
    old, new = _by_key(before), _by_key(after)
    merged: list[Entry] = []
    for name in {**new, **old}:
        section, _, key = name
        was, is_now = old.get(name, []), new.get(name, [])
        same = [entry.value for entry in was] == [entry.value for entry in is_now]
        merged += is_now if same or (section, key) in reloadable else was
    return tuple(merged)


def written(key: Key) -> tuple[str, ...]:
    """Give a key's default as one would write it; () where it has none."""
    defaults = key.default if isinstance(key.default, tuple) else (key.default,)
    return tuple(_written(value, key.read) for value in defaults if value not in (None, ""))


def _written(value: Any, read: Callable[[str], Any]) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if read is values.duration:
        return duration(value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Give a time span as the file has it: 500ms, 15s, 2m, 1h30m, 30d."""
    if seconds % 1:
        return f"{seconds * 1000:g}ms" if seconds < 1 else f"{seconds:g}s"
    parts, left = [], int(seconds)
    for name, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count:
            parts.append(f"{count}{name}")
    return "".join(parts) or "0s"


def _of_section(kind: Any, header: str, entries: Sequence[Entry]) -> Iterator[Effective]:
    keys = keys_of(kind)
    for name, key in keys.items():
        given = [entry for entry in entries if entry.key.lower() == name and entry.value]
        counts = given if key.multi else given[-1:]
        yield Effective(
            section=header,
            key=key.name,
            texts=tuple(entry.value for entry in counts) if counts else written(key),
            origin=counts[-1].place if counts else DEFAULT,
            change=key.change,
            secret=key.secret,
            read=key.read,
        )


def _of_others(entries: Iterable[Entry]) -> Iterator[Effective]:
    for mine in _by_key(entries).values():
        last = mine[-1]
        name = f' "{last.subsection}"' if last.subsection else ""
        yield Effective(
            section=f"{last.section}{name}",
            key=last.key,
            texts=tuple(entry.value for entry in mine),
            origin=last.place,
            change=RELOAD,
            # whether it is one is for its plugin to say, and that is not here
            secret=last.key.lower().endswith(("password", "secret", "token", "key", "url")),
        )


def _meaning(one: Effective | None) -> list[Any]:
    if one is None:
        return []
    try:
        return [one.read(value) for value in one.texts]
    except ValueError:
        return list(one.texts)


def _by_key(entries: Iterable[Entry]) -> Mapping[tuple[str, str, str], list[Entry]]:
    found: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in entries:
        name = (entry.section.lower(), entry.subsection, entry.key.lower())
        found.setdefault(name, []).append(entry)
    return found
