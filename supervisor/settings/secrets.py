"""Secrets from files: `PasswordFile = /path` stands for `Password` with what the file holds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

from supervisor.errors import SupervisorError
from supervisor.settings.gcfg import Entry
from supervisor.settings.keys import keys_of
from supervisor.settings.unknown import file_of

LARGEST = 64 * 1024  # bytes of a secret


def resolve(
    entries: Iterable[Entry],
    kinds: Sequence[Any],
    problems: list[SupervisorError] | None = None,
) -> list[Entry]:
    """Replace each entry that names the file of a secret by the secret; white space ends it.

    The new entry stands where the old one stood. Raises SupervisorError("settings-invalid") where a
    file cannot be read, or a secret is given both ways; with `problems` they are put there.
    """
    files = {
        (kind.section.lower(), file_of(key).lower()): key.name
        for kind in kinds
        for key in keys_of(kind).values()
        if key.secret
    }
    found: list[Entry] = []
    every = list(entries)
    for entry in every:
        secret = files.get((entry.section.lower(), entry.key.lower()))
        if secret is None or not entry.value:
            found.append(entry)
            continue
        try:
            _refuse_both(entry, secret, every)
            found.append(dataclasses.replace(entry, key=secret, value=_read(entry)))
        except SupervisorError as error:
            if problems is None:
                raise
            problems.append(error)
    return found


def _refuse_both(entry: Entry, secret: str, every: Sequence[Entry]) -> None:
    for other in every:
        same = (other.section.lower(), other.subsection) == (
            entry.section.lower(),
            entry.subsection,
        )
        if same and other.key.lower() == secret.lower() and other.value:
            raise entry.refusal(
                f"{secret} has a value too ({other.place})", "Write one of the two."
            )


def _read(entry: Entry) -> str:
    if not entry.value.startswith("/"):
        raise entry.refusal(f"{entry.value!r} is not an absolute path")
    try:
        with open(entry.value, "rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise entry.refusal(f"{entry.value} is larger than {LARGEST} bytes")
        text = data.decode().rstrip()
    except OSError as error:
        raise entry.refusal(f"cannot read {entry.value}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise entry.refusal(f"{entry.value} is not UTF-8 text") from None
    if not text:
        raise entry.refusal(f"{entry.value} is empty")
    return text
